"""Scenes of a job: files, rows of tables, STAC items, mosaics."""
