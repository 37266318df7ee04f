"""Transport security: modes, sockets, trust."""
