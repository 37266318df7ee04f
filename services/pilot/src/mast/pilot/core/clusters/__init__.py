"""Clusters and endpoints."""
