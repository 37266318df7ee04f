"""Adapters to what is outside: files, processes, the kernel, Citadel, Pilot, Envoy."""
