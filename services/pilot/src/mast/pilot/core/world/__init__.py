"""The whole state, its snapshots and the views that classes of proxies have of it."""
