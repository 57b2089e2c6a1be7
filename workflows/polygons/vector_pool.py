"""Workers for vector tiles: this process, or several that know the raster once."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_all_start_methods, get_context
from queue import SimpleQueue
from typing import Any, Protocol

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import RunFailedError
from segment_tiles.pipeline.library_messages import silence_libraries
from segment_tiles.pipeline.parent_process import end_with_parent, main_not_imported


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
STARTS = 3
"""How often processes are started before one that ends while they start is an error."""


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
def worker_pool(factory: WorkerFactory, setup: object, workers: int, threads: int = 1) -> Iterator[Run]:
    """Give a function that runs steps; workers of a pool are made once and keep their raster open.

    Parameters
    ----------
    factory : callable
        Makes a worker from the setup; importable by name.
    setup : object
        Small and picklable.
    workers : int
        1 works in this process.
    threads : int
        Of this process, each with a worker of its own, if it is the only one.

    Raises
    ------
    RunFailedError
        When a process of the pool was killed in the middle of its work, or while they start for the third time.
    """
    if workers == 1 and threads > 1:
        with _threads(factory, setup, threads) as run:
            yield run
        return
    if workers == 1:
        with closing(factory(setup)) as worker:
            yield lambda step, tasks: (getattr(worker, step)(task) for task in tasks)
        return
    start_loading(workers)
    processes = _Processes(factory, setup, workers)
    try:
        yield processes.run
    except BrokenProcessPool as error:
        msg = (
            "a worker process ended by itself, probably for lack of memory; finished tiles are kept: "
            "start the same command again with fewer workers or smaller vector tiles"
        )
        raise RunFailedError(msg) from error
    finally:
        processes.pool.shutdown(cancel_futures=True)


@contextmanager
def _threads(factory: WorkerFactory, setup: object, threads: int) -> Iterator[Run]:
    """Give a function that runs steps in threads of this process: GDAL and GEOS work without Python's lock."""
    with ExitStack() as stack:
        idle: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(threads):
            idle.put(stack.enter_context(closing(factory(setup))))
        pool = ContextPool(threads, thread_name_prefix="polygons")
        stack.callback(pool.shutdown, cancel_futures=True)

        def work(step: str, task: object) -> object:
            worker = idle.get()
            try:
                return getattr(worker, step)(task)
            finally:
                idle.put(worker)

        yield lambda step, tasks: _ordered(pool, work, step, tasks, threads * TASKS_AHEAD)


@dataclass
class _Processes:
    """Workers that are started again if one of them ends before each has done a task."""

    factory: WorkerFactory
    setup: object
    workers: int
    pool: ProcessPoolExecutor = field(init=False)
    _starts: int = 0
    _seen: set[int] = field(default_factory=set)
    """Processes of this start that have done a task."""

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self._seen.clear()
        self.pool = ProcessPoolExecutor(
            self.workers, get_context(_method()), initializer=_begin, initargs=(self.factory, self.setup)
        )

    def run(self, step: str, tasks: Sequence[Any]) -> Iterator[Any]:
        """Yield the results of a step in the order of its tasks."""
        done = 0
        while done < len(tasks):
            try:
                waiting, ahead = tasks[done:], self.workers * TASKS_AHEAD
                for process, result in _ordered(self.pool, _work, step, waiting, ahead):
                    self._seen.add(process)
                    done += 1
                    yield result
            except BrokenProcessPool:
                if len(self._seen) == self.workers or self._starts == STARTS:
                    raise
                self.pool.shutdown(cancel_futures=True)
                self._start()


def _ordered(
    pool: Executor, work: Callable[[str, Any], Any], step: str, tasks: Sequence[Any], ahead: int
) -> Iterator[Any]:
    with main_not_imported():  # a pool of processes starts them with its first task
        waiting = deque(pool.submit(work, step, task) for task in tasks[:ahead])
    for number in range(len(tasks)):
        result = waiting.popleft().result()
        if number + ahead < len(tasks):
            waiting.append(pool.submit(work, step, tasks[number + ahead]))
        yield result


_MAKE: list[Callable[[], Worker]] = []
"""Makes the worker of this process, if it is one of a pool."""
_WORKER: list[Worker] = []


def _begin(factory: WorkerFactory, setup: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that asked
    silence_libraries()
    end_with_parent()
    _MAKE.append(lambda: factory(setup))


def _work(step: str, task: object) -> tuple[int, object]:
    if not _WORKER:  # not in _begin: what is raised there is a traceback, and a process that ended by itself
        _WORKER.append(_MAKE[0]())
    return os.getpid(), getattr(_WORKER[0], step)(task)
