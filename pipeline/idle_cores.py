"""Threads for what follows the computation, when the cores have nothing else to do."""

from __future__ import annotations

import os
from typing import Final

THREADS_AT_MOST: Final = 4
"""Each holds pixels of its own, and what finishing takes of memory stands in the Plan."""


def finishing_threads() -> int:
    """Return how many threads share overviews, and polygons of a run in one process: as many as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, THREADS_AT_MOST)
