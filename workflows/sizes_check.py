"""Sizes that no machine of this kind can hold are refused before anything of them is made."""

from __future__ import annotations

from typing import Final

import psutil

from segment_tiles.pipeline.errors import PlanError, UsageError
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.process_memory import available_bytes, total_bytes

WORKER_TAKES: Final = 150_000_000
"""Bytes of a process that has loaded the libraries and nothing else; in truth more."""
WORKERS_PER_CORE: Final = 4
"""More processes only wait for each other: of 128 on two cores none came up within a minute."""
ELSEWHERE: Final = 2**40
"""Bytes that a worker of a cluster, of which nothing is known here, has at most."""


def check_batch(batch: int, tile: int, bands: int, *, is_elsewhere: bool) -> None:
    """Refuse tiles and batches whose input alone does not fit the memory.

    Parameters
    ----------
    batch, tile, bands
        Tiles of a forward pass, side of a tile in pixels, bands of a pixel.
    is_elsewhere
        Whether a cluster computes, of whose memory nothing is known here.

    Raises
    ------
    PlanError
        Says what they take, and what is free.
    """
    free = ELSEWHERE if is_elsewhere else available_bytes()
    _check(batch * bands * tile * tile, free, f"--batch {batch} with tiles of {tile} px", "--tile or --batch")


def check_training(batch: int, window: int, tile: int) -> None:
    """Refuse windows, batches and tiles of a training whose pixels alone do not fit the memory.

    Raises
    ------
    PlanError
        Says what they take, and what is free.
    """
    free = available_bytes()
    _check(batch * window * window, free, f"batch {batch} with windows of {window} px", "window or batch")
    _check(tile * tile, free, f"tile {tile} px", "tile")


def _check(pixels: int, free: int, what: str, smaller: str) -> None:
    needed = 4 * pixels  # float32
    if needed > free:
        msg = (
            f"{what} takes {needed / 1e9:,.1f} GB for the pixels alone; {free / 1e9:,.1f} GB are free: give a smaller "
            f"{smaller}"
        )
        raise PlanError(msg)


def check_workers(count: int) -> None:
    """Refuse numbers of processes that are none, or that this machine cannot hold or keep busy.

    Raises
    ------
    UsageError
        Says how many it can.
    """
    cores = psutil.cpu_count() or 1
    held, useful = max(1, total_bytes() // WORKER_TAKES), WORKERS_PER_CORE * cores
    if 1 <= count <= min(held, useful):
        return
    if held <= useful:
        why = "more do not fit the memory of this machine"
    else:
        why = f"this machine has {counted(cores, 'CPU core')}, for which more would only wait"
    msg = f"--workers is {count}; give a number from 1 to {min(held, useful)}: {why}"
    raise UsageError(msg)


def check_executor_options(config: RunConfig) -> None:
    """Refuse more than one way to compute, and workers that are none.

    Raises
    ------
    UsageError
        Naming the options.
    """
    asked = {
        "--workers": config.workers,
        "--scheduler": config.scheduler,
        "--cluster": None if config.cluster is None else str(config.cluster),
    }
    given = [f"{name} {value}" for name, value in asked.items() if value is not None]
    if len(given) > 1:
        msg = f"{' and '.join(given)} exclude each other; give one of --workers, --scheduler, --cluster"
        raise UsageError(msg)
    if config.workers is not None:
        check_workers(config.workers)
    if config.workers is not None and config.device.startswith("cuda:"):
        msg = (
            f"--device {config.device} with --workers {config.workers}: every worker gets a GPU of its own; give "
            "--device cuda, and choose among GPUs with the environment variable CUDA_VISIBLE_DEVICES"
        )
        raise UsageError(msg)
