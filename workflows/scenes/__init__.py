"""Scenes: a source and a model brought together, for each kind of source."""
