"""Copies of what cannot be made again: what is in them, how they are written and put back."""
