"""Admission: what the Kubernetes API server asks before it stores an object (A3, C1)."""
