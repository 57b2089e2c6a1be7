"""Overviews: the class map and its confidence at half size, again and again.

A pixel of a level comes from 2 x 2 pixels of the level before::

    level n      a b | e f        level n + 1    mode(a b c d)   mode(e f g h)
                 c d | g h

Classes: the mode. Nodata has no vote, so a pixel is nodata only if all four are. Of classes with equally
many votes the one wins that has them first in reading order: ``1 2 2 1`` gives 2. Both rules are those of
GDAL's ``mode`` resampling, with which the COG is made, so that both show the same (to the pixel, while sides
are even); and unlike "the smallest code wins" they favour no class.

Confidence: the mean over pixels that have a class, rounded half up.

Where a side is odd, the last row or column of a level comes from two pixels, or one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.idle_cores import finishing_threads
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.conventions import (
    array_attributes,
    group_attributes,
    overview_group_attributes,
)
from segment_tiles.pipeline.outputs.stores.store import (
    array_of,
    create_array,
    read_class_table,
    read_georef,
    shard_shape,
)

SMALLEST: Final = 512
"""The last overview is the first whose sides are both at most this, in pixels."""


def overview_shapes(height: int, width: int, smallest: int = SMALLEST) -> list[tuple[int, int]]:
    """Return rows and columns of the levels 1, 2, ...; none if the raster is small already.

    >>> overview_shapes(2049, 700)
    [(1025, 350), (513, 175), (257, 88)]
    """
    shapes = []
    while max(height, width) > smallest:
        height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return shapes


def build_overviews(group: zarr.Group) -> None:
    """Write all overviews of a finished store, and the attributes that announce them.

    Each thread works on one shard of a level at a time: memory does not depend on the size of the raster. The same
    store gives the same bytes.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only; overviews are not announced then, and a second call
        starts again.
    """
    georef, shape = read_georef(group), _rows_and_columns(group)
    levels = overview_shapes(*shape)
    try:
        group = _announced(group, group_attributes(georef, shape))
        finer = group
        for level, level_shape in enumerate(levels, 1):
            coarser = _create_level(group, georef, shape, level, level_shape)
            _fill_level(finer, coarser, read_class_table(group).nodata)
            finer = coarser
        _announced(group, group_attributes(georef, shape, levels))
    except OSError as error:
        raise write_failed(group.store_path, error) from error


def _announced(group: zarr.Group, attributes: dict[str, Any]) -> zarr.Group:
    """Return a group with these attributes, written unless it has them: a new store says that it has no overviews."""
    own = dict(group.attrs)
    if {name: own.get(name) for name in attributes} == attributes:
        return group
    return group.update_attributes(attributes)


def mode_of_four(values: NDArray[Any], nodata: int) -> NDArray[Any]:
    """Return the mode of every 2 x 2 window, by the rules at the top of this module.

    Parameters
    ----------
    values
        Codes, rows x columns, both even.
    nodata
        The code that has no vote.

    Returns
    -------
    ndarray
        rows / 2 x columns / 2, the same type.

    >>> mode_of_four(np.array([[1, 2, 9, 9], [2, 1, 9, 3]]), nodata=9)
    array([[2, 3]])
    """
    a, b, c, d = _quarters(values)
    if not (values == nodata).any():
        return _mode_of_classes(a, b, c, d)
    # of a value, how many there are up to and with this position
    counts = [
        np.ones(a.shape, np.uint8),
        1 + (a == b).view(np.uint8),
        1 + (a == c).view(np.uint8) + (b == c).view(np.uint8),
        1 + (a == d).view(np.uint8) + (b == d).view(np.uint8) + (c == d).view(np.uint8),
    ]
    winner = np.full(a.shape, nodata, dtype=values.dtype)
    most = np.zeros(a.shape, np.uint8)
    for candidate, count in zip((a, b, c, d), counts, strict=True):
        wins = (candidate != nodata) & (count > most)
        np.copyto(winner, candidate, where=wins)
        np.copyto(most, count, where=wins)
    return winner


def _mode_of_classes(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: NDArray[Any]) -> NDArray[Any]:
    """Return the mode where all four have a vote: the first pair of equals decides, in the order ab ac bc ad bd cd."""
    none_of_a = (a != b) & (a != c)
    winner = a.copy()
    np.copyto(winner, b, where=none_of_a & ((b == c) | ((a != d) & (b == d))))
    np.copyto(winner, c, where=none_of_a & (b != c) & (c == d))
    return winner


def _quarters(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the four pixels of every 2 x 2 window in reading order, each without gaps."""
    return [np.ascontiguousarray(values[row::2, column::2]) for row in (0, 1) for column in (0, 1)]


def mean_of_four(values: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the mean over the valid pixels of every 2 x 2 window, rounded half up; 0 if none is.

    Parameters
    ----------
    values
        Rows x columns, both even.
    valid
        Same shape.

    Returns
    -------
    ndarray
        rows / 2 x columns / 2.
    """
    if valid.all():
        return ((_sum_of_four(values) + 2) >> 2).astype(np.uint8)
    total, count = _sum_of_four(np.where(valid, values, 0)), _sum_of_four(valid)
    return ((total + count // 2) // np.maximum(count, 1)).astype(np.uint8)


def _sum_of_four(values: NDArray[Any]) -> NDArray[np.uint16]:
    a, b, c, d = _quarters(values)
    total: NDArray[np.uint16] = np.add(a, b, dtype=np.uint16)
    total += c
    total += d
    return total


def _rows_and_columns(group: zarr.Group) -> tuple[int, int]:
    height, width = array_of(group, "classes").shape
    return height, width


def _create_level(
    group: zarr.Group, georef: GeoRef, shape: tuple[int, int], level: int, level_shape: tuple[int, int]
) -> zarr.Group:
    coarser = group.create_group(
        str(level), overwrite=True, attributes=overview_group_attributes(georef, shape)
    )
    for name in ("classes", "confidence"):
        base = array_of(group, name)
        attributes = array_attributes(georef, level_shape, level)
        create_array(coarser, name, level_shape, str(base.dtype), int(base.fill_value), attributes)
    return coarser


def _fill_level(finer: zarr.Group, coarser: zarr.Group, nodata: int) -> None:
    """Make a level from the one before; every shard is written by one thread, whole."""
    arrays = [(array_of(finer, name), array_of(coarser, name)) for name in ("classes", "confidence")]
    (classes_in, classes_out), (confidence_in, confidence_out) = arrays

    def fill(window: Window) -> None:
        classes = _read_four_times(classes_in, window, nodata)
        confidence = _read_four_times(confidence_in, window, 0)
        classes_out[window.slices()] = mode_of_four(classes, nodata)
        confidence_out[window.slices()] = mean_of_four(confidence, classes != nodata)

    with ContextPool(finishing_threads(), thread_name_prefix="overviews") as pool:
        for _ in pool.map(fill, shard_windows(*_rows_and_columns(coarser))):
            pass


def shard_windows(height: int, width: int) -> Iterator[Window]:
    """Yield the shards of an array in reading order, cut at its edges."""
    whole = Window(0, 0, height, width)
    rows, columns = shard_shape(width)
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield Window(row, column, rows, columns).intersect(whole)


def _read_four_times(array: zarr.Array[Any], window: Window, padding: int) -> NDArray[Any]:
    """Read what a window of the next level comes from; one row or column of padding where it overhangs."""
    rows, columns = (slice(2 * s.start, 2 * s.stop) for s in window.slices())
    values: NDArray[Any] = np.asarray(array[rows, columns])
    missing = [(0, 2 * side - have) for side, have in zip(window.shape, values.shape, strict=True)]
    return np.pad(values, missing, constant_values=padding) if any(m for _, m in missing) else values
