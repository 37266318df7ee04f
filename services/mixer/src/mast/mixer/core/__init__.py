"""Mixer's domain: attributes in, verdicts out; no I/O, no clock."""
