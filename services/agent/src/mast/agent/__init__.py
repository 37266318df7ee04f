"""Mast agent: runs beside one Envoy and gives it identity, bootstrap and names."""
