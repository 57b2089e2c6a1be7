"""The work on one Region: its parts go through the network into the store, and what cannot be read is listed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

from segment_tiles.pipeline.errors import ReadFailedError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.computed_area import ComputedArea
from segment_tiles.pipeline.inference.finished_rows import FinishedRows, with_masks
from segment_tiles.pipeline.inference.result_rows import ResultPixels, result_rows
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.ensemble import Ensemble
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import open_store, shard_shape
from segment_tiles.pipeline.outputs.stores.unfinished import Part, unfinished
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.thumbnail import Thumbnail, watched
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.process_memory import peak_resident_bytes
from segment_tiles.workflows.regions.loaded_model import load_scorer
from segment_tiles.workflows.regions.own_disk import on_disk
from segment_tiles.workflows.regions.region_task import IsStopped, Progress, RegionReport, RegionTask
from segment_tiles.workflows.scenes.computed_area import computed_area
from segment_tiles.workflows.scenes.cut import NOT_FINITE_MARK, Cut, OpenPlanes

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW_AT_MOST = 3
"""Rows of shards that may fail one after the other before the rest of a plane is given up."""


class _StoppedError(Exception):
    """A Region was asked to stop, and the rows that it has finished are whole shards."""


def do_region(
    task: RegionTask,
    progress: Progress | None = None,
    is_stopped: IsStopped = lambda: False,
    *,
    shares: bool = False,
) -> RegionReport:
    """Do what the ledger does not have of a Region.

    A row of shards whose source cannot be read is listed and left out; the rest goes on. A Region that is
    stopped ends with whole shards; the ledger tells what it has left. One that shares the network with another
    computes in its part of the threads.

    Raises
    ------
    WriteFailedError
        If the results cannot be written: no further row could be either.
    SourceChangedError
        If the source is found to be another after a read that failed.
    """
    started = perf_counter()
    report = RegionReport()
    scorer = load_scorer(task.model)
    report.folded_batch_norms = scorer.folded_batch_norms
    with on_disk(task, report) as (here, ledger):
        parts = unfinished(here.region, range(*here.planes), here.cut.roi.shape, ledger)
        log.info(
            "Region of rows %d to %d, columns %d to %d, planes %d to %d: %s to do",
            here.region.row, here.region.row_stop, here.region.column, here.region.column_stop, *here.planes,
            counted(len(parts), "part"),
        )  # fmt: skip
        with (
            closing(here.cut.opener.open()) as planes,
            opened_mask(here.cut) as mask,
            torch_threads(
                here.model.backend, scorer.batches_of_streams if shares else scorer.batches_at_once
            ),
        ):
            work = RegionWork(here, ledger, planes, mask, scorer, report, progress, is_stopped)
            try:
                for part in parts:
                    work.do(part)
            except _StoppedError:
                pass  # as asked: the report says what was done until then
    report.seconds["total"] = perf_counter() - started
    report.peak_bytes = peak_resident_bytes()
    return report


@contextmanager
def opened_mask(cut: Cut) -> Iterator[Source | None]:
    """Open the source on its own grid, if the result lies there and pixels may be missing."""
    opener = None if cut.result_grid is None else cut.result_grid.mask_opener
    if opener is None:
        yield None
        return
    with closing(opener.open()) as planes:
        yield from planes.sources((0,))


class RegionWork:
    """Does parts of a Region, one after the other.

    Parameters
    ----------
    task
        Of the Region.
    ledger
        Told of finished rows.
    planes
        Of its Cut, open; they stay open after a read that failed.
    mask
        The source on the grid of the result, which tells where it holds data; None: what is read knows.
    scorer
        What computes.
    report
        Filled as the work goes on.
    progress
        Told of tiles computed and skipped.
    is_stopped
        Asked whenever a row of shards is done.
    """

    def __init__(
        self,
        task: RegionTask,
        ledger: Ledger,
        planes: OpenPlanes,
        mask: Source | None,
        scorer: Segmenter | Ensemble,
        report: RegionReport,
        progress: Progress | None,
        is_stopped: IsStopped,
    ) -> None:
        self._task, self._ledger, self._planes, self._scorer, self._report = (
            task,
            ledger,
            planes,
            scorer,
            report,
        )
        self._progress, self._is_stopped = progress, is_stopped
        self._roi = task.cut.roi
        self._shard_rows, _ = shard_shape(self._roi.width)
        cut = task.cut
        area = computed_area(task.aoi, task.tissue, cut.area_spec, task.area_checksums, task.mask)
        self._pixels = ResultPixels(mask, area)
        self._area = area if area is None or cut.result_grid is None else ComputedArea(area, cut.map)

    def do(self, part: Part) -> None:
        """Do a part; where reading fails, list the row of shards and go on below it, and with the planes after it.

        Raises
        ------
        _StoppedError
            When the Region was stopped.
        """
        waiting, in_a_row = deque([part]), 0
        while waiting:
            now = waiting.popleft()
            done, error = self._stream(now)
            if error is None:
                continue
            window = now.window
            plane = now.planes[min(done // window.height, len(now.planes) - 1)]
            row = (window.row + done % window.height) // self._shard_rows * self._shard_rows
            in_a_row = in_a_row + 1 if row == window.row else 1
            gives_up = in_a_row >= FAILURES_IN_A_ROW_AT_MOST
            stop = window.row_stop if gives_up else min(row + self._shard_rows, window.row_stop)
            self._list(plane, Window.from_edges(row, window.column, stop, window.column_stop), error)
            if plane + 1 < now.planes.stop:
                waiting.appendleft(Part(range(plane + 1, now.planes.stop), window))
            if stop < window.row_stop:
                below = Window.from_edges(stop, window.column, window.row_stop, window.column_stop)
                waiting.appendleft(Part(range(plane, plane + 1), below))

    def _list(self, plane: int, window: Window, error: ReadFailedError) -> None:
        """Add what could not be done to the report."""
        named = {} if self._task.cut.planes == 1 else {"plane": plane}
        failure: dict[str, Any] = {**named, "window": asdict(window), "reason": one_line(error)}
        log.warning(
            "rows %d to %d, columns %d to %d of plane %d cannot be done: %s",
            window.row, window.row_stop, window.column, window.column_stop, plane, one_line(error),
            extra={"row": window.row, "column": window.column, "plane": plane, "reason": one_line(error)},
        )  # fmt: skip
        self._report.failures.append(failure)

    def _stream(self, part: Part) -> tuple[int, ReadFailedError | None]:
        """Stream a part into the store; return the rows that came out and the error that ended it."""
        cut = self._task.cut
        grid, window = cut.thumbnail, cut.on_grid(part.window)
        thumbnail = None if grid is None else Thumbnail(grid, window, cut.spec.dtype)
        stream, writer = self._rows_of(part, thumbnail), self._writer_of(part, thumbnail)
        done = 0
        try:
            with writer:
                for rows in result_rows(stream, cut.map, window, self._pixels, self._decided.nodata):
                    self._mark(rows)
                    writer.append(self._reclassed(with_masks(rows, self._task.decision)))
                    done += rows.classes.shape[0]
                    if self._ends_shards(rows, part.window) and self._is_stopped():
                        raise _StoppedError  # past the writer, which would write the rows it holds as whole shards
        except ReadFailedError as error:
            return done, error
        finally:
            self._add_times(stream, writer)
        return done, None

    def _rows_of(self, part: Part, thumbnail: Thumbnail | None) -> RegionStream:
        """Return what reads the planes of a part, and gives their finished rows."""
        task = self._task
        return RegionStream(
            watched(self._planes.sources(part.planes), thumbnail),
            self._scorer,
            task.cut.lattice,
            task.cut.on_grid(part.window) if task.cut.coarser > 1 else task.cut.read_for(part.window),
            blend=task.blend,
            batch=task.model.batch,
            area=self._area,
            with_scores=task.with_scores,
            decision=task.decision,
            on_tiles=self._progress,
            coarser=task.cut.coarser,
        )

    def _writer_of(self, part: Part, thumbnail: Thumbnail | None) -> ShardWriter:
        """Return what writes finished rows into the store, and then into the ledger."""
        reclass = self._task.reclass
        written = self._decided if reclass is None else reclass.table
        return ShardWriter(
            open_store(self._task.store, "r+"),
            part.window,
            self._roi.row,
            self._ledger,
            written.nodata,
            written.count,
            part.planes,
            thumbnail,
            written.codes,
        )

    def _reclassed(self, rows: FinishedRows) -> FinishedRows:
        """Return rows with the classes that the store has; scores and confidence stay those of the model."""
        reclass = self._task.reclass
        if reclass is None:
            return rows
        return replace(rows, classes=reclass.of_map(rows.classes, self._decided.nodata))

    @property
    def _decided(self) -> ClassTable:
        """Classes that pixels are given before a reclass."""
        classes, decision = self._scorer.classes, self._task.decision
        return classes if decision is None else decision.table(classes)

    def _mark(self, rows: FinishedRows) -> None:
        if self._task.is_composed and rows.not_finite is not None:
            rows.confidence[rows.not_finite] = NOT_FINITE_MARK

    def _ends_shards(self, rows: FinishedRows, window: Window) -> bool:
        """Return whether a row of shards is whole with these rows."""
        first = rows.row - self._roi.row
        stop = first + rows.classes.shape[0]
        return bool(stop == window.row_stop or stop // self._shard_rows > first // self._shard_rows)

    def _add_times(self, stream: RegionStream, writer: ShardWriter) -> None:
        """Add what a stream and its writer took to the report."""
        times, report = stream.times, self._report
        report.computed += times.computed
        report.skipped += times.skipped
        parts = {
            "read": times.read,
            "compute": times.compute,
            "write": writer.seconds,
            "compute waited for read": times.wait,
            "compute waited for write": writer.wait_seconds,
        }
        for name, value in parts.items():
            report.seconds[name] = report.seconds.get(name, 0.0) + value
