"""What becomes of a request: Envoy's decisions, made on the configuration it would have. Pure."""
