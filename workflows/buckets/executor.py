"""Regions whose finished rows go into a bucket: any executor, told where to send them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.buckets.result import BucketResult
from segment_tiles.workflows.buckets.traced_tiles import TracedTiles
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import (
    Capacity,
    Executor,
    Request,
    Result,
    RunPaths,
    WholeWork,
)
from segment_tiles.workflows.regions.own_disk import read_metadata

if TYPE_CHECKING:
    from segment_tiles.pipeline.places.protocol import Traffic
    from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
    from segment_tiles.workflows.regions.strips import Strip


class SendingExecutor:
    """Has another executor do Regions, whose rows are sent to a place and then brought to the folder of the run.

    Parameters
    ----------
    inner
        Does them.
    result
        Where they go.
    """

    def __init__(self, inner: Executor, result: BucketResult) -> None:
        self._inner, self._result = inner, result
        self.choices = inner.choices

    def start(self) -> Capacity:
        """Start the other executor."""
        return self._inner.start()

    def check(self, paths: RunPaths) -> None:
        """Refuse a run of which a worker cannot see source or model, or cannot write into the bucket.

        Raises
        ------
        UsageError
            Naming the worker and what it cannot see.
        """
        self._inner.check(replace(paths, own_folder=None, place=self._result.address))

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function returns where Regions are done."""
        return self._inner.call(function, *arguments)

    def do_whole(
        self, work: WholeWork[Request, Result], request: Request, interruption: Interruption
    ) -> Result:
        """Return what the work on a small run returns."""
        return self._inner.do_whole(work, request, interruption)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do the tasks, and bring what was sent here.

        Raises
        ------
        RunFailedError
            If nothing is left that could do them.
        WriteFailedError
            If another process has taken over meanwhile.
        """
        self._result.begin()
        is_elsewhere = self._inner.start().is_elsewhere
        _refuse_what_others_cannot_see(tasks, is_elsewhere=is_elsewhere)
        stores = {task.store: task.ledger for task in tasks}  # thousands of Regions have one
        rows = {store: self._result.rows_of(store, ledger) for store, ledger in stores.items()}
        metadata = {store: read_metadata(store) if is_elsewhere else None for store in stores}
        sent = [replace(task, rows=rows[task.store], metadata=metadata[task.store]) for task in tasks]
        reports = self._inner.run(sent, progress, _OrLost(interruption, self._result))
        self._result.require()
        if is_elsewhere:
            for own in {task.store.parent for task in tasks}:
                self._result.fetch_rows(own)
        self._result.count(report.traffic for report in reports)
        return reports

    def trace(self, strips: Sequence[Strip], interruption: Interruption) -> list[Traffic]:
        """Trace strips, and bring what was traced here."""
        asked = _OrLost(interruption, self._result)
        if not self._inner.start().is_elsewhere:
            return self._inner.trace(strips, asked)
        request = strips[0].request
        traced = TracedTiles(self._result, request)
        traffic = self._inner.trace(traced.missing(strips), asked)
        self._result.count(traffic)
        traced.fetch()
        return traffic

    def close(self, *, at_once: bool = False) -> None:
        """Close the other executor."""
        self._inner.close(at_once=at_once)


class _OrLost(Interruption):
    """Asks to stop for the user, or because another process has taken over."""

    def __init__(self, asked: Interruption, result: BucketResult) -> None:
        super().__init__()
        self._asked, self._result = asked, result

    def is_requested(self) -> bool:
        """Return whether to stop."""
        return self._asked.is_requested() or self._result.is_lost


def _refuse_what_others_cannot_see(tasks: Sequence[RegionTask], *, is_elsewhere: bool) -> None:
    """Refuse what workers read from the folder of the run, which lies on the disk of this process alone.

    Raises
    ------
    UsageError
        Naming it.
    """
    if not is_elsewhere or not tasks:
        return
    task = tasks[0]
    needs = {
        "--mask-model": task.mask is not None,
        "--precision int8": bool(task.model.calibrations),
        "a volume": task.cut.planes > 1,
    }
    for what, is_needed in needs.items():
        if is_needed:
            msg = (
                f"--out with a bucket: {what} needs files of the run, which workers elsewhere do not see; compute it "
                "without workers, or give a folder that all see as --out"
            )
            raise UsageError(msg)
