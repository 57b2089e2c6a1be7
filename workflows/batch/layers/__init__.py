"""Layers over all scenes of a batch: their polygons in one file, and their footprints."""
