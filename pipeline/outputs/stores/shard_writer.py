"""Gathers finished rows into rows of shards and writes each whole, once, behind the computation."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import kept_thread
from segment_tiles.pipeline.durable import make_folder, sync_files
from segment_tiles.pipeline.errors import WriteFailedError, one_line
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.outputs.stores.ledger import Ledger, LedgerEntry
from segment_tiles.pipeline.outputs.stores.seals import Seal, seal_of
from segment_tiles.pipeline.outputs.stores.store import SHARDS, array_of, folder_of, shard_file, shard_shape
from segment_tiles.pipeline.sources.thumbnail import Thumbnail

log = logging.getLogger(__name__)

COUNTED_ONE_BY_ONE = 16
"""Classes up to which a pass for each is quicker than a histogram, for which every code becomes 64 bits wide."""

MOST_CLASSES_OF_A_BYTE = 255
"""Up to so many classes the highest probability times 255 is at least 1."""


class ShardWriter:
    """Writes the rows of one Region; a context manager that waits for the last write.

    Two rows of shards exist at a time: one that fills up, and one that a thread compresses and
    writes.

    Parameters
    ----------
    group
        The store of the run.
    region
        Window of the *result*, on shard edges.
    row_offset
        Row of the raster that is row 0 of the result: the top of the ROI.
    ledger
        Told after each row of shards.
    nodata, classes
        Code of pixels without class, and number of classes of the model.
    planes
        Planes of the result, whose rows come one plane after the other. The rows of shards of a plane are
        counted after those of the planes before it. A store without an axis for planes has one.
    thumbnail
        Of the one plane, as it is read; each row of shards is marked with its piece. None: none is kept.
    codes
        That the rows may have, in order; None: 0, 1, 2, ... as many as there are classes.
    """

    def __init__(
        self,
        group: zarr.Group,
        region: Window,
        row_offset: int,
        ledger: Ledger,
        nodata: int,
        classes: int,
        planes: Sequence[int] = (0,),
        thumbnail: Thumbnail | None = None,
        codes: Sequence[int] | None = None,
    ) -> None:
        self._thumbnail = thumbnail
        self._region, self._row_offset, self._ledger = region, row_offset, ledger
        self._nodata, self._codes = nodata, tuple(range(classes) if codes is None else codes)
        self._arrays = {name: array_of(group, name) for name in ("classes", "confidence")}
        self._folder = folder_of(group)
        for name in ("scores", "masks"):
            if (self._folder / name).is_dir():
                self._arrays[name] = array_of(group, name)
        for name in self._arrays:
            make_folder(self._folder / name / SHARDS)
        self._shard_rows, self._shard_columns = shard_shape(self._arrays["classes"].shape[-1])
        self._planes = deque(planes)
        self._has_planes = self._arrays["classes"].ndim > 2
        # if every pixel has a class, no chunk of these is all nodata, so none has to be compared with it; the
        # highest of up to 255 probabilities is at least 1/255, which as a byte is not the 0 of nodata either
        self._never_empty = ("classes", "confidence") if classes <= MOST_CLASSES_OF_A_BYTE else ("classes",)
        self._row = region.row
        self._filled = 0
        self._buffers = self._new_buffers()
        self._not_finite = self._by_shard(np.zeros((0, region.width), dtype=bool))
        self._open = ExitStack()
        self._pool = self._open.enter_context(kept_thread("write"))
        self._writing: Future[None] | None = None
        self.seconds = 0.0
        self.wait_seconds = 0.0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._wait()
        finally:
            self._open.close()

    def append(self, rows: FinishedRows) -> None:
        """Take rows that continue the last ones.

        Raises
        ------
        WriteFailedError
            If an earlier row of shards could not be written.
        """
        parts = {"classes": rows.classes, "confidence": rows.confidence, "scores": rows.scores}
        parts["masks"] = rows.masks
        taken, height = 0, rows.classes.shape[0]
        expected = self._row + self._filled + self._row_offset
        if rows.row != expected:
            msg = f"rows start at {rows.row}, but the next row of the Region is {expected}"
            raise ValueError(msg)
        while taken < height:
            count = min(height - taken, self._rows_of_shard() - self._filled)
            for name, buffer in self._buffers.items():
                part = parts[name]
                if part is not None:
                    buffer[..., self._filled : self._filled + count, :] = part[..., taken : taken + count, :]
            if rows.not_finite is not None:
                self._not_finite += self._by_shard(rows.not_finite[taken : taken + count])
            self._filled += count
            taken += count
            if self._filled == self._rows_of_shard():
                self._flush()

    def _rows_of_shard(self) -> int:
        """Rows of the row of shards that fills up: to the next shard edge or the end of the Region."""
        edge = (self._row // self._shard_rows + 1) * self._shard_rows
        return min(edge, self._region.row_stop) - self._row

    def _new_buffers(self) -> dict[str, NDArray[Any]]:
        return {
            name: np.empty((*self._leading(array), self._shard_rows, self._region.width), dtype=array.dtype)
            for name, array in self._arrays.items()
        }

    def _leading(self, array: zarr.Array[Any]) -> tuple[int, ...]:
        """Return the axes before planes and rows: classes, for scores."""
        return array.shape[: -3 if self._has_planes else -2]

    def _flush(self) -> None:
        """Hand the filled rows to the writing thread, after the ones before."""
        if self._filled == 0:
            return
        self._wait()
        window = Window(self._row, self._region.column, self._filled, self._region.width)
        number = self._planes[0]
        lost = tuple(int(count) for count in self._not_finite) if self._not_finite.any() else ()
        self._writing = self._pool.submit(self._write, window, number, self._buffers, lost)
        self._not_finite = np.zeros_like(self._not_finite)
        self._row += self._filled
        self._filled = 0
        if self._row == self._region.row_stop and len(self._planes) > 1:
            self._planes.popleft()
            self._row = self._region.row
        self._buffers = self._new_buffers() if self._row < self._region.row_stop else {}

    def _wait(self) -> None:
        if self._writing is not None:
            started = perf_counter()
            writing, self._writing = self._writing, None
            writing.result()
            self.wait_seconds += perf_counter() - started

    def _write(
        self,
        window: Window,
        number: int,
        buffers: dict[str, NDArray[Any]],
        not_finite: tuple[int, ...],
    ) -> None:
        started = perf_counter()
        index = (number, *window.slices()) if self._has_planes else window.slices()
        codes = buffers["classes"][: window.height]
        entry = self._entry(window, number, codes)
        seen = None if self._thumbnail is None else self._thumbnail.content(window, codes, self._nodata)
        never_empty = self._never_empty if not any(counts[-1] for counts in entry.counts) else ()
        try:
            for name, array in self._arrays.items():
                if name in never_empty:
                    array = array.with_config({"write_empty_chunks": True})  # noqa: PLW2901 - the same array
                array[(..., *index)] = buffers[name][..., : window.height, :]
            shards = self._on_disk(entry, number, window)
        except OSError as error:
            raise WriteFailedError(_write_message(self._arrays["classes"], error)) from error
        self._ledger.mark(replace(entry, not_finite=not_finite, shards=shards), seen)
        log.info(
            "rows %d to %d, columns %d to %d of plane %d are on disk",
            window.row, window.row_stop, window.column, window.column_stop, number or 0,
            extra={"row": window.row, "column": window.column, "plane": number or 0},
        )  # fmt: skip
        self.seconds += perf_counter() - started

    def _on_disk(self, entry: LedgerEntry, number: int, window: Window) -> dict[str, Seal | None]:
        """Wait until the files of a row are on the disk, with their names, and return what each must be."""
        shards: dict[str, Seal | None] = {}
        for name, array in self._arrays.items():
            row = window.row // self._shard_rows
            index = (number, row) if self._has_planes else (row,)
            classes = (0,) * (array.ndim - len(index) - 1)
            files = [shard_file(array, (*classes, *index, column)) for column in range(*entry.shard_columns)]
            there = [file for file in files if (self._folder / name / file).is_file()]
            sync_files([self._folder / name / file for file in there], below=self._folder / name / SHARDS)
            for file in files:
                shards[f"{name}/{file}"] = seal_of(self._folder / name / file) if file in there else None
        return shards

    def _entry(self, window: Window, number: int, codes: NDArray[Any]) -> LedgerEntry:
        side = self._shard_columns
        first, last = window.column // side, -(-window.column_stop // side)
        counts = []
        for column in range(first, last):
            left = max(column * side, window.column) - window.column
            part = codes[:, left : (column + 1) * side - window.column]
            counts.append(self._counts(part))
        rows_of_plane = -(-self._arrays["classes"].shape[-2] // self._shard_rows)
        shard_row = number * rows_of_plane + window.row // self._shard_rows
        return LedgerEntry(shard_row, (first, last), tuple(counts))

    def _by_shard(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return how many pixels of each shard column are marked."""
        edges = np.arange(0, self._region.width, self._shard_columns)
        return np.add.reduceat(np.count_nonzero(mask, axis=0), edges)

    def _counts(self, codes: NDArray[Any]) -> tuple[int, ...]:
        wanted = (*self._codes, self._nodata)
        if len(self._codes) > COUNTED_ONE_BY_ONE:
            counts = np.bincount(codes.ravel(), minlength=self._nodata + 1)
            return tuple(int(counts[code]) for code in wanted)
        return tuple(int(np.count_nonzero(codes == code)) for code in wanted)


def _write_message(array: zarr.Array[Any], error: OSError) -> str:
    what = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else one_line(error)
    return (
        f"{array.store_path}: cannot be written: {what}; free space or make it writable, then start the same "
        "command again: finished rows are kept"
    )
