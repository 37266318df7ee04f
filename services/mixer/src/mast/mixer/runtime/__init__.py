"""Runs the core: handlers and their life, adapter calls, the swap of configurations."""
