"""Calls to Mixer: checks, reports, and the check cache inside of the proxy."""
