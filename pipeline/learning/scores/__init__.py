"""Scores of class maps against the truth."""
