"""Envoy's configuration as data: its message types, their constraints, and how they merge."""
