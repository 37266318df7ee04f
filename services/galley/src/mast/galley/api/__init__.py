"""gRPC faces of Galley."""
