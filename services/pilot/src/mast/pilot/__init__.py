"""Mast Pilot: turns traffic rules into Envoy configuration and serves it over xDS."""
