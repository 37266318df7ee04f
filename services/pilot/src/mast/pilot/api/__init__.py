"""Pilot's gRPC and HTTP faces."""
