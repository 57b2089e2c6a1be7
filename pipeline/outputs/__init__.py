"""Zarr store with ledger, COG, STAC item, preview picture."""
