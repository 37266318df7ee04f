"""Reads the shared state in etcd and turns it into core values."""
