"""Where pixels are: windows, georeference, the lattice of tiles, blend weights."""
