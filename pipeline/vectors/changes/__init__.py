"""Changes of the class raster before it is polygonised: majority, sieve, holes."""
