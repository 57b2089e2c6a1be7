"""How values of a raster become what a network sees: described, read, measured and computed."""
