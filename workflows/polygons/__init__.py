"""Polygons of class rasters, and the workers that make them."""
