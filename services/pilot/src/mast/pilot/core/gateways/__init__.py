"""Routers: what Gateways make of their listeners and routes (pilot.md I)."""
