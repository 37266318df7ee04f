"""One machine as a platform: processes, addresses and namespaces of a laptop mesh."""
