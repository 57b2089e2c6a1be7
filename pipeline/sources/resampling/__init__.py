"""Sources on pixels of another size, grids in another CRS: filters that no window changes, what reads through them."""
