"""What Citadel serves over gRPC."""
