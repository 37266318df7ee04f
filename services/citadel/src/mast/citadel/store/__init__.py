"""Where Citadel keeps things: etcd and files."""
