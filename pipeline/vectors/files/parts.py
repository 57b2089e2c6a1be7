"""Part files: the features of one vector tile, waiting to be merged into the outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segment_tiles.pipeline.durable import whole_file
from segment_tiles.pipeline.vectors.arrow_columns import number_column, numbers_of
from segment_tiles.pipeline.vectors.geometry.features import OBJECT_SCHEMA

Item = TypeVar("Item")
ROWS_PER_BATCH = 1024
"""Rows that are read from a part at once."""
GEOMETRY_BYTES = 2**29
"""Geometries handed on at once, if they are several: Arrow's binary type, which GDAL takes, ends at 2 GiB."""
OPEN_BATCHES = 64
"""Batches kept while parts are merged."""


def write_part(path: Path, rows: pa.RecordBatch) -> None:
    """Write the rows of one tile as an Arrow file; it has its final name only when complete."""
    with (
        whole_file(path, waits=False) as partial,  # the ledger of tiles has its checksum
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, rows.schema) as writer,
    ):
        for start in range(0, rows.num_rows, ROWS_PER_BATCH):
            writer.write_batch(rows.slice(start, ROWS_PER_BATCH))


def read_part_columns(path: Path, names: Sequence[str]) -> list[NDArray[np.generic]]:
    """Return some columns of a part, whole."""
    with pa.OSFile(str(path), "rb") as file:
        options = pa.ipc.IpcReadOptions(included_fields=[OBJECT_SCHEMA.get_field_index(n) for n in names])
        table = pa.ipc.open_file(file, options=options).read_all()
        return [numbers_of(table[name]) for name in names]


class PartReader:
    """Rows of many parts by number; only the batches in use are in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._batches: OrderedDict[tuple[int, int], pa.RecordBatch] = OrderedDict()

    def rows(self, part: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows [start, stop) of a part."""
        for number in range(start // ROWS_PER_BATCH, (stop - 1) // ROWS_PER_BATCH + 1):
            first = number * ROWS_PER_BATCH
            low, high = max(start, first), min(stop, first + ROWS_PER_BATCH)
            yield self._batch(part, number).slice(low - first, high - low)

    def chosen(self, part: int, rows: NDArray[np.integer]) -> Iterator[pa.RecordBatch]:
        """Yield some rows of a part, in order; nothing of the others is kept."""
        low, high = int(rows[0]), int(rows[-1]) + 1
        if high - low == len(rows):
            yield from self.rows(part, low, high)
            return
        numbers = rows // ROWS_PER_BATCH
        for number in np.unique(numbers).tolist():
            here = rows[numbers == number] - number * ROWS_PER_BATCH
            yield self._batch(part, number).take(number_column(here, pa.int64()))

    def _batch(self, part: int, number: int) -> pa.RecordBatch:
        key = (part, number)
        if key in self._batches:
            self._batches.move_to_end(key)
            return self._batches[key]
        with pa.OSFile(str(self._paths[part]), "rb") as file:
            batch = pa.ipc.open_file(file).get_batch(number)
        self._batches[key] = batch
        if len(self._batches) > OPEN_BATCHES:
            self._batches.popitem(last=False)
        return batch


class MergedParts:
    """The rows of all parts in one order: along the Hilbert curve, then by key.

    Only the curve distance, the key and the position of each row are kept in memory, so the order does not
    depend on how the raster was cut into tiles.
    """

    def __init__(self, paths: Sequence[Path], code: int | None = None) -> None:
        """Order the rows of parts; with a code, those of this class alone."""
        self._paths = paths
        columns = [read_part_columns(path, ["hilbert", "key", "code"]) for path in paths]
        wanted = [np.flatnonzero(codes == code) if code is not None else None for _, _, codes in columns]
        rows = [np.arange(len(c[2])) if w is None else w for w, c in zip(wanted, columns, strict=True)]
        columns = [[column[row] for column in c] for c, row in zip(columns, rows, strict=True)]
        sizes = [len(row) for row in rows]
        hilbert = np.concatenate([np.empty(0, np.uint32), *(c[0] for c in columns)])
        keys = np.concatenate([np.empty(0, np.uint64), *(c[1] for c in columns)])
        order = np.lexsort((keys, hilbert))
        self._part = np.repeat(np.arange(len(paths), dtype=np.int32), sizes)[order]
        within = np.concatenate([np.empty(0, np.int64), *rows])
        self._row = within.astype(np.int32)[order]

    def __len__(self) -> int:
        return len(self._part)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order: at most ``rows`` at a time, with at most ``GEOMETRY_BYTES`` of geometries."""
        reader = PartReader(self._paths)
        for start in range(0, len(self), rows):
            part, row = self._part[start : start + rows], self._row[start : start + rows]
            grouped = np.lexsort((row, part))
            position = np.empty(len(grouped), dtype=np.int64)
            position[grouped] = np.arange(len(grouped))
            # parts are in the same order, so that the rows wanted of each are one stretch, or of one class lie in one
            first = np.flatnonzero(np.diff(part[grouped], prepend=-1))
            stop = np.append(first[1:], len(grouped))
            stretches = [(int(part[grouped[a]]), row[grouped[a:b]]) for a, b in zip(first, stop, strict=True)]
            batches = [batch for n, chosen in stretches for batch in reader.chosen(n, chosen)]
            wanted = number_column(position, pa.int64())
            (merged,) = pa.Table.from_batches(batches).take(wanted).combine_chunks().to_batches()
            yield from _in_bounds(merged)


def _in_bounds(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield slices of rows with no more geometry than ``GEOMETRY_BYTES``, one row at least."""
    ends = np.cumsum(numbers_of(pc.binary_length(rows["geometry"])))
    start = 0
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + GEOMETRY_BYTES, side="right")))
        whole = stop - start == rows.num_rows
        # a copy, since offsets of a slice go on from the rows before it
        yield rows if whole else rows.take(number_column(np.arange(start, stop), pa.int64()))
        start = stop


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items while a thread already makes the next one."""
    nothing = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, nothing)
        while (item := waiting.result()) is not nothing:
            waiting = thread.submit(next, items, nothing)
            yield cast(Item, item)
