"""Mast Mixer: attribute-based policy and telemetry."""
