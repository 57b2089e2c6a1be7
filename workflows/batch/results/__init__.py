"""What a batch writes at its end: the table of its jobs and their collection, into a folder or to a URL."""
