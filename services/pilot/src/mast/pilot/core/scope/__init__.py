"""What of the mesh one proxy sees, and which rules apply to it."""
