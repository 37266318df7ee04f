"""mastctl: the command line of the Mast service mesh."""
