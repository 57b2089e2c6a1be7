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


def batches_of_streams(backend: str, batches_at_once: int) -> int:
    """Return how many batches are computed at once if there are several streams of them.

    Then also a network that gains nothing by two batches gets two, each in half of the threads: a thread that reads or
    writes holds up one of them, not both, which wait for each other after every layer otherwise.
    """
    if batches_at_once > 1 or backend in OWN_THREADS:
        return batches_at_once
    return batches_by_threads()


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
