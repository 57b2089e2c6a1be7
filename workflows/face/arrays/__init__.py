"""Arrays in memory: NumPy, xarray and Dask, in and out."""
