"""MONAI bundles: network, preprocessing and postprocessing, read without evaluating an expression."""
