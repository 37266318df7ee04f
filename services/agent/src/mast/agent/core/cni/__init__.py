"""Capture by a CNI plugin: which pods, with which rules, and where the plugin stands (C6)."""
