"""Outlines of labelled pixels."""
