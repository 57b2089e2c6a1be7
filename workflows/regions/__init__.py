"""One Region, done by a worker."""
