"""What Citadel decides: pure functions over certificates, keys and stored records."""
