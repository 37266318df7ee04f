"""Galley's edge to Kubernetes: what is written there on behalf of the mesh."""
