"""Pilot's domain: values in, values out; no I/O, no clock."""
