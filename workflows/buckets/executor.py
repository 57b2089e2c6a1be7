"""Regions whose finished rows go into a bucket: any executor, told where to send them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from segment_tiles.workflows.scenes.cut import FolderOpener

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

    def check(self, paths: RunPaths) -> RunPaths:
        """Refuse a run of which a worker cannot see source or model, or cannot write into the bucket.

        A source of which files are prepared need not be seen: workers are told the one plane that may be measured.

        Raises
        ------
        UsageError
            Naming the worker and what it cannot see.
        """
        own, asked = paths.own_folder, replace(paths, own_folder=None, place=self._result.address)
        assert isinstance(own, Path)
        if not self._inner.start().is_elsewhere:
            self._inner.check(asked)
            return paths
        if isinstance(asked.opener, FolderOpener):
            self._inner.check(replace(asked, opener=None))
            asked = replace(asked, opener=asked.opener.with_plane(asked.plane))
        else:
            self._inner.check(asked)
        return replace(asked, own_folder=self._result.work.sent_calibrated(own))

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
        work = self._result.work
        stores = {task.store: task.ledger for task in tasks}  # thousands of Regions have one
        rows = {store: work.rows_of(store, ledger) for store, ledger in stores.items()}
        metadata = {store: read_metadata(store) if is_elsewhere else None for store in stores}
        sent = [replace(task, rows=rows[task.store], metadata=metadata[task.store]) for task in tasks]
        if is_elsewhere:
            sent = [task.sent(work.send) for task in sent]
        reports = self._inner.run(sent, progress, _OrLost(interruption, self._result))
        self._result.require()
        if is_elsewhere:
            for own in {task.store.parent for task in tasks}:
                work.fetch_rows(own)
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
