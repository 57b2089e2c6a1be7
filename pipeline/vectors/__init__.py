"""Polygonise, join across seams, simplify, write."""
