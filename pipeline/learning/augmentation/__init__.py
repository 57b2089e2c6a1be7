"""Random changes of a training window."""
