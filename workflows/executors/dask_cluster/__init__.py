"""Regions and small scenes on the workers of a Dask cluster."""
