"""What a raster file means beside its values: sidecars, masks, nodata, georeference."""
