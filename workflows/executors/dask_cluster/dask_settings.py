"""What a run asks of Dask: tiles never spilled, Regions tried three times, nothing on the user's terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import dask

TRIES = 3
"""How often a Region is begun before it counts as failed."""
SETTINGS = {
    # a worker holds no results, only the Region in work, whose memory stands in the Plan: spilling or pausing
    # could free nothing
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 1.0,
    # stacks would be sampled a hundred times a second, for a page that shows one long task
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": TRIES - 1,
    # what looks at event loops and memory many times a second interrupts the threads that compute, which wait for
    # each other; a worker over its memory limit is ended as surely after half a second
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "500ms",
    # worker processes allocate as this one does, on which the Plan is measured, see process_memory; threads are set
    # per worker
    **{
        f"distributed.nanny.pre-spawn-environ.{name}": None
        for name in ("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    },
}


def dask_settings() -> AbstractContextManager[object]:
    """Apply the settings to the clusters that are made inside."""
    settings: AbstractContextManager[object] = dask.config.set(SETTINGS)
    return settings


@contextmanager
def silent_dask() -> Iterator[None]:
    """Keep what Dask logs off the terminal: what matters of it is told in our words."""
    silenced = []
    for name in ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler):
                # not the level, which clusters set and reset themselves
                handler.addFilter(_reject)
                silenced.append(handler)
    try:
        yield
    finally:
        for handler in silenced:
            handler.removeFilter(_reject)


def _reject(_record: logging.LogRecord) -> bool:
    return False
