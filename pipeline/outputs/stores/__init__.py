"""The Zarr stores of a run, with ledger and seals."""
