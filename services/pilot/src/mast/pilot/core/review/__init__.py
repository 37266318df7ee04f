"""Configuration looked at object by object: what its author should know about it (N10, N25)."""
