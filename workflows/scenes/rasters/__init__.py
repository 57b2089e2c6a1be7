"""The Kind of rasters: what GDAL reads, one plane on the ground or without georeference."""
