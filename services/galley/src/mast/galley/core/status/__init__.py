"""What statuses of objects in a cluster are to say (A8, D3)."""
