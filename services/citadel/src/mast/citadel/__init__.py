"""Mast Citadel: identities and certificates."""
