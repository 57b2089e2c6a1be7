"""Windows from labelled rasters, losses, metrics, the training loop."""
