"""Filters of listeners and what routes tell them."""
