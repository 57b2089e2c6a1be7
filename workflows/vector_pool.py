"""Workers for vector tiles: this process, or several that know the raster once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import forkserver, get_all_start_methods, get_context
from typing import Any, Protocol

from segment_tiles.pipeline.errors import RunFailedError


class Worker(Protocol):
    """Does steps for vector tiles: each step is a method that takes one task."""

    def close(self) -> None:
        """Release what is open."""
        ...


WorkerFactory = Callable[[Any], Worker]
Run = Callable[[str, Sequence[Any]], Iterator[Any]]
"""Runs the named step for all tasks; yields the results in the order of the tasks."""

PRELOADED = ("pyogrio", "rasterio", "segment_tiles.pipeline.vectors.tile_work")
"""What every worker needs, and this process in part only."""
TASKS_AHEAD = 4
"""Tasks handed to each process before their results are asked for, which bounds what waits in memory."""


def _method() -> str:
    return "forkserver" if "forkserver" in get_all_start_methods() else "spawn"


def start_loading(workers: int) -> None:
    """Begin to load what worker processes need, while this process does something else.

    A fork server loads the libraries once, and its children share that memory.
    """
    if workers > 1 and _method() == "forkserver":
        forkserver.set_forkserver_preload(list(PRELOADED))
        forkserver.ensure_running()


@contextmanager
def worker_pool(factory: WorkerFactory, setup: object, workers: int) -> Iterator[Run]:
    """Give a function that runs steps; workers of a pool are made once and keep their raster open.

    Parameters
    ----------
    factory : callable
        Makes a worker from the setup; importable by name.
    setup : object
        Small and picklable.
    workers : int
        1 works in this process.

    Raises
    ------
    RunFailedError
        When a process of the pool was killed.
    """
    if workers == 1:
        with closing(factory(setup)) as worker:
            yield lambda step, tasks: (getattr(worker, step)(task) for task in tasks)
        return
    start_loading(workers)
    pool = ProcessPoolExecutor(workers, get_context(_method()), initializer=_begin, initargs=(factory, setup))
    try:
        yield lambda step, tasks: _ordered(pool, step, tasks, workers * TASKS_AHEAD)
    except BrokenProcessPool as error:
        msg = (
            "a worker process ended by itself, probably for lack of memory; finished tiles are kept: "
            "start the same command again with fewer workers or smaller vector tiles"
        )
        raise RunFailedError(msg) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ordered(pool: ProcessPoolExecutor, step: str, tasks: Sequence[Any], ahead: int) -> Iterator[Any]:
    waiting = [pool.submit(_work, step, task) for task in tasks[:ahead]]
    for number in range(len(tasks)):
        result = waiting.pop(0).result()
        if number + ahead < len(tasks):
            waiting.append(pool.submit(_work, step, tasks[number + ahead]))
        yield result


_WORKER: list[Worker] = []
"""The worker of this process, where it is one of a pool."""


def _begin(factory: WorkerFactory, setup: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that asked
    _WORKER.append(factory(setup))


def _work(step: str, task: object) -> object:
    return getattr(_WORKER[0], step)(task)
