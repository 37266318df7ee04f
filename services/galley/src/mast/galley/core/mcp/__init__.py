"""Configuration for other consumers: what they are told, without I/O (A4)."""
