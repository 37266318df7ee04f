"""Route configurations and TCP routes."""
