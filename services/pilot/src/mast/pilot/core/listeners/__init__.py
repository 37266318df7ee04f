"""Listeners of sidecars."""
