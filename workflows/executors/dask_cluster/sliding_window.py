"""Regions handed to workers as others come back: as many in work as there are workers, never one graph of all."""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Any

from distributed import Client, Future, KilledWorker

from segment_tiles.pipeline.errors import (
    AreaChangedError,
    RunFailedError,
    SourceChangedError,
    WriteFailedError,
    one_line,
)
from segment_tiles.workflows.executors.dask_cluster.dask_settings import TRIES
from segment_tiles.workflows.executors.dask_cluster.slots import Slots
from segment_tiles.workflows.executors.dask_cluster.unopened import submit
from segment_tiles.workflows.executors.dask_cluster.worker import WorkOrder, do_region_on_worker, stop_run
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import Tell
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How often the scheduler and the user's Ctrl-C are looked after while nothing comes back."""
COUNT_SECONDS = 2.0
"""How often workers are counted: they come and go."""
LOG_LINES = 12
"""Lines of a worker's log that are shown when it fails at a Region."""


class SlidingWindow:
    """One run's Regions on their way through a cluster.

    One Region per worker is in work, of whatever run: see `Slots`. Only an adaptive cluster gets more, for it
    starts workers when tasks wait.

    Parameters
    ----------
    client
        Connected.
    order
        Name and version of the run.
    tasks
        Its Regions.
    progress
        Told of tiles, in the thread that calls `run`.
    interruption
        Ends it early.
    tell
        Shows the user what happens to workers.
    patience
        Seconds until a run gives up that has lost all workers.
    at_least
        Regions in work, however few workers there are.
    slots
        What is in work of all runs in flight.
    do
        What is done with a task on a worker.
    """

    def __init__(
        self,
        client: Client,
        order: WorkOrder,
        tasks: Sequence[RegionTask],
        progress: Progress | None,
        interruption: Interruption,
        tell: Tell,
        *,
        patience: float = 120.0,
        at_least: int = 0,
        slots: Slots | None = None,
        do: Callable[[RegionTask, WorkOrder], RegionReport] = do_region_on_worker,
    ) -> None:
        self._client, self._order, self._tasks = client, order, tasks
        self._progress, self._interruption, self._tell = progress, interruption, tell
        self._waiting = deque(range(len(tasks)))
        self._in_work: dict[Future, int] = {}
        self._reports: dict[int, RegionReport] = {}
        self._happened: queue.SimpleQueue[Future | tuple[int, int] | None] = queue.SimpleQueue()
        self._slots = slots or Slots()
        self._workers, self._patience, self._at_least, self._do = 0, patience, at_least, do
        self._counted = self._had_workers = monotonic()
        self._is_stopping = False

    def run(self) -> list[RegionReport]:
        """Do the Regions and return the reports of those that were begun, in their order.

        Raises
        ------
        RunFailedError
            If the scheduler or all workers are lost.
        WriteFailedError
            If a Region could not be written, tried three times.
        SourceChangedError
            If a worker found that the source is another.
        """
        self._count_workers()
        self._slots.tell(self._wake)
        self._client.subscribe_topic(self._order.run, lambda event: self._happened.put(tuple(event[1])))
        try:
            while self._in_work or (self._waiting and not self._is_stopping):
                self._require_scheduler()
                self._look_after()
                if not self._is_stopping:
                    self._submit()
                self._take()
            self._take_progress()
        finally:
            self._slots.forget(self._wake)
            self._slots.give_back(len(self._in_work))
            if self._client.status == "running":
                self._client.unsubscribe_topic(self._order.run)
        return [self._reports[index] for index in sorted(self._reports)]

    def _submit(self) -> None:
        while self._waiting and self._slots.take(max(self._workers, self._at_least)):
            index = self._waiting.popleft()
            future = submit(
                self._client,
                self._do,
                self._tasks[index],
                self._order,
                key=f"{self._order.run}-region-{index}",
                retries=TRIES - 1,
            )
            self._in_work[future] = index
            log.debug("Region %d of %d is given to the workers", index + 1, len(self._tasks))
            future.add_done_callback(self._happened.put)

    def _wake(self) -> None:
        """Look again whether a slot is free."""
        if self._waiting:
            self._happened.put(None)

    def _take(self) -> None:
        """Wait a moment for something to happen, and see to it."""
        try:
            event = self._happened.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if isinstance(event, tuple):
            self._tell_progress(*event)
        elif event is not None and event in self._in_work:
            index = self._in_work.pop(event)
            self._slots.give_back()
            self._finish(event, index)

    def _take_progress(self) -> None:
        """See to what workers told before their last Region came back."""
        while not self._happened.empty():
            event = self._happened.get()
            if isinstance(event, tuple):
                self._tell_progress(*event)

    def _tell_progress(self, computed: int, skipped: int) -> None:
        if self._progress is not None:
            self._progress(computed, skipped)

    def _finish(self, future: Future, index: int) -> None:
        self._require_scheduler()
        error: Any = future.exception()
        if error is None:
            self._reports[index] = future.result()
            return
        if isinstance(error, WriteFailedError | SourceChangedError | AreaChangedError):
            raise error  # no Region could be written, so going on would only cost time
        task = self._tasks[index]
        slices = "" if task.cut.planes == 1 else f"slices {task.planes[0]} to {task.planes[1]}: "
        failure = {"window": asdict(task.region), "reason": slices + _reason(error)}
        log.error("Region %d failed: %s", index, failure["reason"], extra=failure)
        self._reports[index] = RegionReport(failures=[failure])
        for line in self._log_lines(error):
            self._tell(line)

    def _log_lines(self, error: Any) -> list[str]:
        """Return the last lines of the logs that say more: of all workers, or of the scheduler on their death."""
        if isinstance(error, KilledWorker):
            logs = {"scheduler": self._client.get_scheduler_logs(LOG_LINES)}
        else:
            logs = self._client.get_worker_logs(LOG_LINES)
        return [
            f"  {name}: {line}"
            for name, entries in logs.items()
            for level, text in reversed(entries)
            if level in {"WARNING", "ERROR", "CRITICAL"}
            for line in text.splitlines()
        ]

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            msg = (
                f"the Dask scheduler {self._client.scheduler.address} is gone; finished rows are kept: start the "
                "same command again when there is one"
            )
            raise RunFailedError(msg)

    def _look_after(self) -> None:
        """Count workers now and then, and pass on that the user wants to stop."""
        if self._interruption.is_requested() and not self._is_stopping:
            self._is_stopping = True
            self._client.run(stop_run, self._order.run, on_error="ignore")
        if monotonic() - self._counted > COUNT_SECONDS:
            self._count_workers()

    def _count_workers(self) -> None:
        before, self._workers = self._workers, len(self._client.nthreads())
        self._counted = monotonic()
        if self._workers:
            self._had_workers = self._counted
        if self._workers < before:
            log.warning(
                "a worker is lost, %d are left; its Region is done again", self._workers, extra={"told": True}
            )
            self._tell(f"a worker is lost, {self._workers} are left; its Region is done again")
        if self._counted - self._had_workers > self._patience:
            msg = (
                f"all workers are gone for {self._patience:.0f} s; finished rows are kept: start the same "
                "command again when there are some"
            )
            raise RunFailedError(msg)


def _reason(error: Any) -> str:
    if isinstance(error, KilledWorker):
        return (
            f"{error.allowed_failures + 1} workers ended while they did it, the last was "
            f"{error.last_worker.address}; they may lack memory: see --memory"
        )
    return f"{type(error).__name__}, tried {TRIES} times: {one_line(error)}"
