"""What a running Envoy says of itself: its configuration, read and put into columns."""
