"""A small run that one worker does as a whole, from opening to its last file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from distributed import Client, KilledWorker

from segment_tiles.pipeline.errors import RunFailedError
from segment_tiles.workflows.executors.dask_cluster.dask_settings import TRIES
from segment_tiles.workflows.executors.dask_cluster.sliding_window import POLL_SECONDS
from segment_tiles.workflows.executors.dask_cluster.slots import Slots
from segment_tiles.workflows.executors.dask_cluster.unopened import submit
from segment_tiles.workflows.executors.dask_cluster.worker import WorkOrder, do_whole_on_worker, stop_run
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import WholeWork


def whole_run(
    client: Client,
    order: WorkOrder,
    work: WholeWork[Any, Any],
    request: Any,
    interruption: Interruption,
) -> Any:
    """Return what the work returns on a worker; if the user asks to stop, it is told to.

    Raises
    ------
    RunFailedError
        If workers ended while they did it, three times.
    CancelledError
        If the scheduler is gone.
    """
    future = submit(client, do_whole_on_worker, work, request, order, retries=TRIES - 1)
    has_ended, is_told = threading.Event(), False
    future.add_done_callback(lambda _: has_ended.set())
    while not has_ended.wait(POLL_SECONDS):
        if client.status != "running":
            raise CancelledError
        if interruption.is_requested() and not is_told:
            client.run(stop_run, order.run, on_error="ignore")
            is_told = True
    try:
        return future.result()
    except KilledWorker as error:
        msg = f"{TRIES} workers ended while they did a whole scene; they may lack memory: see --memory"
        raise RunFailedError(msg) from error


@contextmanager
def slot(slots: Slots, client: Client, at_least: int, interruption: Interruption) -> Iterator[None]:
    """Wait until a worker is free, and keep it meanwhile.

    Raises
    ------
    KeyboardInterrupt
        If the user asks to stop before one is.
    """
    is_free = threading.Event()
    slots.tell(is_free.set)
    try:
        while not slots.take(max(len(client.nthreads()), at_least)):
            if interruption.is_requested():
                raise KeyboardInterrupt
            is_free.wait(POLL_SECONDS)
            is_free.clear()
    finally:
        slots.forget(is_free.set)
    try:
        yield
    finally:
        slots.give_back()
