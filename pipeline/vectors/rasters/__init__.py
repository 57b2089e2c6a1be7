"""Class rasters, and the door that opens them."""
