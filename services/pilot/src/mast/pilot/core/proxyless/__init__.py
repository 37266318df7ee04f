"""What gRPC libraries get that speak xDS themselves (pilot.md B29)."""
