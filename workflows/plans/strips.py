"""Regions for several workers: columns of shards cut into strips."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import shard_shape

ROUNDS_AT_MOST = 4
"""Regions of each worker that are aimed at, at most; more would compute more borders twice."""
WORTH_MORE_STRIPS = 1.1
"""What more and smaller Regions may cost in time of the busiest worker."""


def columns_at_least(roi: Window, workers: int) -> int:
    """Return the columns of Regions without which a wide, low raster would have too few for all workers."""
    shard_rows, side = shard_shape(roi.width)
    rows, shard_columns = -(-roi.height // shard_rows), -(-roi.width // side)
    return min(shard_columns, -(-workers // rows))


def in_strips(
    tiles_of: Callable[[Window], int], roi: Window, columns: tuple[Window, ...], workers: int
) -> tuple[Window, ...]:
    """Cut columns of shards into strips, so that all workers have work and few tiles are done twice.

    A tile on the border of two strips is computed by both, so one worker gets whole columns. For more, the
    number of strips is the one that the last worker finishes first; and where a larger number costs little,
    that: Regions that are smaller even out workers of unequal speed.

    Parameters
    ----------
    tiles_of
        Tells how many tiles a Region takes.
    roi
        The result, which has its shape.
    columns
        Windows of the result, on shard edges, from its first row to its last.
    workers
        Regions that are done at the same time.
    """
    shard_rows, _ = shard_shape(roi.width)
    rows = -(-roi.height // shard_rows)
    if workers == 1:
        return columns
    layouts: dict[int, tuple[Window, ...]] = {}
    for rounds in range(1, ROUNDS_AT_MOST + 1):
        count = min(rows, -(-rounds * workers // len(columns)))
        edges = [min(roi.height, rows * strip // count * shard_rows) for strip in range(count + 1)]
        layouts[count] = tuple(
            Window.from_edges(top, column.column, bottom, column.column_stop)
            for top, bottom in pairwise(edges)
            for column in columns
        )
    tiles = {count: busiest(tiles_of, regions, workers) for count, regions in layouts.items()}
    best = min(tiles.values())
    return layouts[max(count for count, most in tiles.items() if most <= best * WORTH_MORE_STRIPS)]


def busiest(tiles_of: Callable[[Window], int], regions: tuple[Window, ...], workers: int) -> int:
    """Return the tiles that the busiest worker computes, where all are equally fast."""
    largest = max(map(tiles_of, regions))
    return -(-len(regions) // workers) * largest
