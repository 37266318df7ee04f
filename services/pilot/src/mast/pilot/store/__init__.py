"""Adapters that turn etcd into core events and publish what Pilot knows."""
