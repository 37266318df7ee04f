"""Mixer's gRPC faces."""
