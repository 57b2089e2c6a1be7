"""Levels of a class map for formats of bio-imaging: as many as the source has, of the same sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.overviews import overview_shapes, shard_windows
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.pipeline.sources.pyramids.pyramid import downsample


def label_shapes(shape: tuple[int, int], source_levels: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return rows and columns of every level, full resolution of the class map first.

    Parameters
    ----------
    shape
        Rows and columns of the class map.
    source_levels
        Of the source; the class map has as many, of the same sizes if it covers all of it at full
        resolution, and in the same proportions otherwise. Empty if the source has one level only: the
        class map then has overviews of its own.

    >>> label_shapes((100, 50), [(1001, 800), (500, 400)])
    [(100, 50), (50, 25)]
    """
    if len(source_levels) < 2:
        return [shape, *overview_shapes(*shape)]
    if shape == tuple(source_levels[0]):
        return [(rows, columns) for rows, columns in source_levels]
    steps = [downsample(source_levels[0], level) for level in source_levels]
    return [(max(1, -int(-shape[0] // down)), max(1, -int(-shape[1] // across))) for down, across in steps]


def level_parts(group: zarr.Group, shape: tuple[int, int]) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Yield the class codes of a level of this shape, shard by shard, in reading order.

    They come from the coarsest overview of the store that is not coarser (each the mode of the one
    before), by the nearest pixel: codes are never mixed.
    """
    array = _not_coarser(group, shape)
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) * full / side).astype(np.intp), full - 1)
        for full, side in zip(array.shape, shape, strict=True)
    )
    for window in shard_windows(*shape):
        down, across = (picked[part] for picked, part in zip((rows, columns), window.slices(), strict=True))
        top, left = int(down[0]), int(across[0])
        box = np.asarray(array[top : int(down[-1]) + 1, left : int(across[-1]) + 1])
        yield window, box[np.ix_(down - top, across - left)]


def _not_coarser(group: zarr.Group, shape: tuple[int, int]) -> zarr.Array[Any]:
    found = array_of(group, "classes")
    level = 1
    while f"{level}/classes" in group:
        overview = array_of(group, f"{level}/classes")
        if overview.shape[0] < shape[0] or overview.shape[1] < shape[1]:
            break
        found, level = overview, level + 1
    return found
