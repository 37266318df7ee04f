"""What a mesh consists of: services, endpoints, proxies, settings."""
