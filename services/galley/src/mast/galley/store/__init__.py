"""Adapters: configuration in etcd, and the sources it comes from."""
