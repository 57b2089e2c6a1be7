"""Which version of a source is read: every file that counts, what of it counts, and what a server tells."""
