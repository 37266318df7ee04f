"""Workloads on machines of their own: what they need to join a mesh (citadel-and-agent.md B9)."""
