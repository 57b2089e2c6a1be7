"""Worker processes of this machine: one thread of Dask and one device each."""

from __future__ import annotations

import importlib.util
import logging
import os
from contextlib import suppress
from multiprocessing import resource_tracker

import psutil
import torch
from distributed import Client, Nanny, Scheduler, SpecCluster

from segment_tiles.pipeline.errors import RunFailedError, one_line
from segment_tiles.workflows.executors.dask_settings import dask_settings
from segment_tiles.workflows.plan import DEFAULT_MEMORY_SHARE
from segment_tiles.workflows.process_memory import available_bytes

LOOPBACK = "127.0.0.1"
"""Nobody else can reach what runs here: who reaches a scheduler can run code."""
START_SECONDS = 120.0
"""Until the first process must be there, on a machine that is busy."""

CLOSE_SECONDS = 10.0
"""Until processes that do not end by themselves are killed."""


class LocalWorkers:
    """Processes that are started for a run, replaced when they die, and stopped after it.

    Parameters
    ----------
    count
        Number of processes.
    memory
        Bytes that each may take; None divides most of what is free. A process that takes more is ended.
    device
        auto, cpu or cuda.
    """

    is_local = True
    is_adaptive = False
    has_dashboard = importlib.util.find_spec("bokeh") is not None
    """Dask draws it with bokeh, which comes with the extra `dashboard`."""
    wait = START_SECONDS

    def __init__(self, count: int, memory: int | None, device: str) -> None:
        self._device = device
        self._cluster: SpecCluster | None = None
        self.environment: dict[str, str] = {}
        self.workers = count
        self.memory = memory or int(available_bytes() * DEFAULT_MEMORY_SHARE / count)

    def open(self) -> Client:
        """Start scheduler and workers, and connect.

        Raises
        ------
        RunFailedError
            Where the processes do not come up.
        """
        scheduler = {
            "cls": Scheduler,
            "options": {
                "host": LOOPBACK,
                "port": 0,
                "dashboard": self.has_dashboard,
                "dashboard_address": f"{LOOPBACK}:0",
            },
        }
        try:
            _start_silent_resource_tracker()
            with dask_settings():
                self._cluster = SpecCluster(
                    workers={number: self._worker(number) for number in range(self.workers)},
                    scheduler=scheduler,
                    silence_logs=logging.CRITICAL,
                )
            return Client(self._cluster, set_as_default=False)
        except (OSError, RuntimeError) as error:
            msg = f"--workers {self.workers}: the processes do not come up: {one_line(error)}"
            raise RunFailedError(msg) from error

    def close(self, *, at_once: bool) -> None:
        """Stop the processes; ``at_once`` kills those that are in the middle of a Region."""
        if self._cluster is None:
            return
        if at_once:
            for nanny in self._cluster.workers.values():
                nanny.auto_restart = False
                with suppress(psutil.NoSuchProcess):
                    if nanny.pid is not None:
                        psutil.Process(nanny.pid).kill()
        with suppress(TimeoutError):
            self._cluster.close(timeout=CLOSE_SECONDS)
        self._cluster = None

    def _worker(self, number: int) -> dict[str, object]:
        threads = max(1, torch.get_num_threads() // self.workers)
        return {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": self.memory,
                "host": LOOPBACK,
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
                "env": {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
                | gpu_of_worker(number, self._device),
            },
        }


def _start_silent_resource_tracker() -> None:
    """Start Python's tracker of semaphores, which outlives the run, without its warning.

    A worker that is killed leaves semaphores of its libraries behind. The tracker removes them, and would say so
    on the user's terminal after everything else.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [before, "ignore:resource_tracker:UserWarning"]))
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def gpu_of_worker(number: int, device: str) -> dict[str, str]:
    """Return the variable that leaves a worker one GPU, one after the other; nothing where there is none."""
    if device == "cpu" or not torch.cuda.is_available():
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": names[number % len(names)].strip()}
