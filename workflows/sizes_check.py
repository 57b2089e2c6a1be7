"""Sizes that no machine of this kind can hold are refused before anything of them is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from segment_tiles.pipeline.errors import PlanError, UsageError
from segment_tiles.workflows.process_memory import available_bytes, total_bytes

if TYPE_CHECKING:
    from segment_tiles.workflows.config import RunConfig

WORKER_TAKES: Final = 150_000_000
"""Bytes of a process that has loaded the libraries and nothing else; in truth more."""
ELSEWHERE: Final = 2**40
"""Bytes that a worker of a cluster, of which nothing is known here, has at most."""


def check_batch(config: RunConfig, tile: int, bands: int) -> None:
    """Refuse tiles and batches whose input alone does not fit the memory.

    Raises
    ------
    PlanError
        Says what they take, and what is free.
    """
    batch = config.batch or 1
    needed = 4 * batch * bands * tile * tile  # float32
    is_elsewhere = config.scheduler is not None or config.cluster is not None
    free = ELSEWHERE if is_elsewhere else available_bytes()
    if needed > free:
        msg = (
            f"--batch {batch} with tiles of {tile} px takes {needed / 1e9:,.1f} GB for the pixels alone; "
            f"{free / 1e9:,.1f} GB are free: give a smaller --tile or --batch"
        )
        raise PlanError(msg)


def check_workers(count: int) -> None:
    """Refuse numbers of processes that are none, or that this machine cannot hold.

    Raises
    ------
    UsageError
        Says how many it can.
    """
    most = max(1, total_bytes() // WORKER_TAKES)
    if not 1 <= count <= most:
        msg = f"--workers is {count}; give a number from 1 to {most}: more do not fit the memory of this machine"
        raise UsageError(msg)
