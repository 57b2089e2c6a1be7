"""torch beside another library that runs the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

OWN_THREADS = ("openvino", "onnx")
"""Backends that bring threads of their own; the others use those of torch."""


@contextmanager
def torch_beside(backend: str) -> Iterator[None]:
    """Inside, torch's own operators take one thread, where another library computes the network in its threads.

    torch's threads spin for some milliseconds after each operator, waiting for the next, on the cores that the
    library needs by then; what is left to torch is little. The numbers are the same for any number of threads.
    """
    threads = torch.get_num_threads()
    if backend not in OWN_THREADS or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
