"""Sources on pixels of another size: filters that no window changes, and what reads through them."""
