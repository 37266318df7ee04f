"""A mesh out of files: what Galley would store of them and Pilot would make of that, no servers."""
