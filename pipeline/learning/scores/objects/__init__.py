"""Scores of objects: matched one by one, whatever the size of the raster."""
