"""Which backends compute in threads of their own; known without loading any of them."""

OWN_THREADS = ("openvino", "onnx")
"""Backends that bring threads of their own; the others use those of torch."""
BATCHES_AT_ONCE = 2
"""Batches that may be in such a backend at the same time: one computes, one gets ready or is blended."""
