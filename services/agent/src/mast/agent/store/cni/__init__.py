"""The plugin on the node: its files, network namespaces and pods."""
