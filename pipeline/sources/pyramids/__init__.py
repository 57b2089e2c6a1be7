"""Pyramids: slides and images of microscopes, one array of bands at several Levels."""
