"""Galley's domain: reading, judging and comparing configuration objects; pure, without I/O."""
