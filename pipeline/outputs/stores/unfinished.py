"""What the ledger does not have of a Region: parts of its planes that are still to be done."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.store import shard_shape


@dataclass(frozen=True, slots=True)
class Part:
    """The same window of consecutive planes."""

    planes: range
    """Of the result."""
    window: Window
    """In pixels of the result, on shard edges."""


def unfinished(region: Window, planes: range, shape: tuple[int, int], ledger: Ledger) -> list[Part]:
    """Return the parts of a Region, full in width, whose rows of shards are not all in the ledger.

    Planes of which nothing is there are one part together: their tiles fill batches.

    Parameters
    ----------
    region
        In pixels of the result, on shard edges.
    planes
        Of the result; a raster has one.
    shape
        Rows and columns of the result.
    ledger
        Counts the rows of shards of a plane after those of the planes before it.
    """
    done = ledger.shards()
    parts: list[Part] = []
    for plane in planes:
        for window in _unfinished_of_plane(region, plane, shape, done):
            last = parts[-1] if parts else None
            if last is not None and last.window == window == region and last.planes.stop == plane:
                parts[-1] = Part(range(last.planes.start, plane + 1), region)
            else:
                parts.append(Part(range(plane, plane + 1), window))
    return parts


def unfinished_planes(planes: range, shape: tuple[int, int], ledger: Ledger) -> list[range]:
    """Return runs of planes of which a shard is not in the ledger."""
    whole = Window(0, 0, *shape)
    runs: list[range] = []
    for part in unfinished(whole, planes, shape, ledger):
        first, stop = part.planes.start, part.planes.stop
        if runs and runs[-1].stop >= first:
            first = runs.pop().start
        runs.append(range(first, stop))
    return runs


def _unfinished_of_plane(
    region: Window, plane: int, shape: tuple[int, int], done: Set[tuple[int, int]]
) -> Iterator[Window]:
    shard_rows, shard_columns = shard_shape(shape[1])
    before = plane * -(-shape[0] // shard_rows)
    columns = range(region.column // shard_columns, -(-region.column_stop // shard_columns))
    first = None
    for top in (*range(region.row, region.row_stop, shard_rows), region.row_stop):
        is_due = top < region.row_stop and not all(
            (before + top // shard_rows, column) in done for column in columns
        )
        if is_due and first is None:
            first = top
        elif not is_due and first is not None:
            yield Window.from_edges(first, region.column, top, region.column_stop)
            first = None


def window_of_row(shard_row: int, shard_columns: tuple[int, int], shape: tuple[int, int]) -> Window:
    """Return the pixels of a row of shards of the one plane of a result of this shape.

    >>> window_of_row(1, (0, 1), (700, 300))
    Window(row=512, column=0, height=188, width=300)
    """
    rows, columns = shard_shape(shape[1])
    first, last = shard_columns
    box = Window.from_edges(shard_row * rows, first * columns, (shard_row + 1) * rows, last * columns)
    return box.intersect(Window(0, 0, *shape))
