"""Mast kit: what the services truly have in common."""
