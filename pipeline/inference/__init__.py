"""The band accumulator and the streaming loop: Raster in, finished rows of shards out."""
