"""Backends: what runs the network; each maps normalised tiles to logits, for one fixed shape."""
