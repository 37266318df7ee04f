"""What an Envoy is configured with: told by Pilot, made static, or read from its admin port."""
