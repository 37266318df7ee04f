"""Tokens of end users: what Envoy verifies them with, and what is demanded of requests."""
