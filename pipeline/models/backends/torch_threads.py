"""Threads of torch while a network runs, in torch or in another library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

OWN_THREADS = ("openvino", "onnx")
"""Backends that bring threads of their own; the others use those of torch."""


def batches_by_threads() -> int:
    """Return 2, batches that each take half of the threads; 1 where they cannot be halved."""
    return 2 if torch.get_num_threads() % 2 == 0 else 1


@contextmanager
def torch_threads(backend: str, batches_at_once: int) -> Iterator[None]:
    """Inside, torch's operators take the threads that are theirs.

    ::

        torch, one batch at once        all
        torch, two batches at once      half, for each of the two
        a library with its own          1

    torch's threads spin for some milliseconds after each operator, waiting for the next, on the cores that the
    library needs by then; what is left to torch is little.
    """
    threads = torch.get_num_threads()
    inside = 1 if backend in OWN_THREADS else max(1, threads // batches_at_once)
    if inside == threads:
        yield
        return
    torch.set_num_threads(inside)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
