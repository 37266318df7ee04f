"""The sockets that a sidecar listens on, and their filter chains."""
