"""The demonstration: bookinfo on a laptop mesh, every claim shown with real traffic."""
