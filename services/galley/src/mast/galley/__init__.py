"""Mast Galley: the platform edge and the only writer of configuration."""
