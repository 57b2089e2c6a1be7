"""Worker processes of this machine: one thread of Dask and one device each."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import resource_tracker

import psutil
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.core import Status

from segment_tiles.pipeline.errors import RunFailedError, one_line
from segment_tiles.pipeline.models.gpu_driver import has_gpu_driver
from segment_tiles.pipeline.parent_process import main_not_imported
from segment_tiles.workflows.executors.dask_cluster.dask_settings import dask_settings
from segment_tiles.workflows.process_memory import DEFAULT_MEMORY_SHARE, available_bytes

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
"""Nobody else can reach what runs here: who reaches a scheduler can run code."""
START_SECONDS = 120.0
"""Until the first process must be there, on a machine that is busy."""

PRELOADED = (
    "segment_tiles.workflows.executors.dask_cluster.worker",
    "segment_tiles.workflows.run.scene_probe",
    "timm.models",
)
"""What a worker imports while the client is still importing the same."""
STARTS = 3
"""How often the processes are started before one that ends while they start is an error."""
CLOSE_SECONDS = 10.0
"""Until processes that do not end by themselves are killed."""


class LocalWorkers:
    """Processes that are started for a run, replaced when they die, and stopped after it.

    They come up behind the client, each importing what it needs::

        client   begin |- torch, source, plan inputs -| open |- probe -|- Regions
        worker         |- torch, timm ----------------|

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
        self._starting: Future[SpecCluster] | None = None
        self.environment: dict[str, str] = {}
        self.workers = count
        self.memory = memory or int(available_bytes() * DEFAULT_MEMORY_SHARE / count)

    def begin(self) -> None:
        """Start scheduler and workers without waiting for them."""
        if self._starting is None:
            _start_silent_resource_tracker()
            # until open(): Dask counts the seconds of garbage collection, and Python drops a Ctrl-C that comes inside
            gc.disable()
            pool = ThreadPoolExecutor(1, "start-workers")
            self._starting = pool.submit(self._start)
            pool.shutdown(wait=False)

    def open(self) -> Client:
        """Connect to the scheduler, once the workers are there.

        Raises
        ------
        RunFailedError
            If the processes do not come up.
        """
        self.begin()
        assert self._starting is not None
        try:
            return Client(self._starting.result(), set_as_default=False)
        except (OSError, RuntimeError) as error:
            msg = f"--workers {self.workers}: the processes do not come up: {one_line(error)}"
            raise RunFailedError(msg) from error
        finally:
            gc.enable()

    def _start(self) -> SpecCluster:
        if hasattr(signal, "pthread_sigmask"):
            # worker processes inherit the mask: Ctrl-C in the terminal reaches them too, but is the client's business
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        scheduler = {
            "cls": Scheduler,
            "options": {
                "host": LOOPBACK,
                "port": 0,
                "dashboard": self.has_dashboard,
                "dashboard_address": f"{LOOPBACK}:0",
            },
        }
        for start in range(1, STARTS + 1):
            try:
                with dask_settings():
                    return SpecCluster(
                        workers={number: self._worker(number) for number in range(self.workers)},
                        scheduler=scheduler,
                        silence_logs=logging.CRITICAL,
                    )
            except (OSError, RuntimeError) as error:
                # Dask replaces a process that ends in its work, and gives up all if one ends as it starts
                if start == STARTS:
                    raise
                logger.info("a worker ended while it started, all start again: %s", one_line(error))
        raise AssertionError

    def close(self, *, at_once: bool) -> None:
        """Kill the processes: what is done is on disk, and to ask them to end would take a second."""
        if self._starting is None:
            return
        starting, self._starting = self._starting, None
        gc.enable()
        try:
            cluster = starting.result()
        except (
            OSError,
            RuntimeError,
        ):  # told by open(), or the run has ended before it for a reason of its own
            return
        for nanny in cluster.workers.values():
            nanny.auto_restart = False
            with suppress(psutil.NoSuchProcess):
                if nanny.pid is not None:
                    psutil.Process(nanny.pid).kill()
        with suppress(TimeoutError):
            cluster.close(timeout=CLOSE_SECONDS)

    def _worker(self, number: int) -> dict[str, object]:
        return {
            "cls": _Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": self.memory,
                "host": LOOPBACK,
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
                "preload": list(PRELOADED),
                "env": threads_of_worker(self.workers) | gpu_of_worker(number, self._device),
            },
        }


class _Nanny(Nanny):  # type: ignore[misc] # distributed has no types
    async def instantiate(self) -> Status:
        with main_not_imported():  # the first process, and each in place of one that died
            return await super().instantiate()


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


def threads_of_worker(workers: int) -> dict[str, str]:
    """Return the variables that give each worker its share of the cores; a single one takes what torch takes."""
    if workers == 1:
        return {}
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or allowed, allowed)
    asked = (
        os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    )  # a list is one number per nested level
    threads = str(max(1, (int(asked) if asked.isdigit() else cores) // workers))
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def gpu_of_worker(number: int, device: str) -> dict[str, str]:
    """Return the variable that leaves a worker one GPU, one after the other; nothing if there is none."""
    if device == "cpu" or not has_gpu_driver():
        return {}
    import torch  # noqa: PLC0415 - takes seconds, in which the workers could be starting

    if not torch.cuda.is_available():
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": names[number % len(names)].strip()}
