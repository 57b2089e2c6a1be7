"""Areas of classes on the ground, from pixel counts.

The ledger knows how many pixels of each class a shard has. Where a pixel has much the same area all over the shard,
that is enough. Where it has not, as in degrees or in Web Mercator, the codes are counted again in cells that are small
enough::

    shard, area of a pixel 90 ... 110 m2      cells whose pixels differ by at most 0.1 %
    |--------------------------------|        |------|-------|--------|-------|
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import Ground, ground_of, metres_of_unit
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, shard_shape
from segment_tiles.workflows.output_folder.directory import OutputDirectory

Codes = Callable[[Window], NDArray[Any]]
"""Reads class codes of a window of the result."""

SQUARE_MILLIMETERS = {"micrometer": 1e-6, "millimeter": 1.0}
"""Of a square unit in which a raster without CRS is measured."""
UNITS = {"pixel": "pixels", "map unit": "square map units"}
"""Of areas, by the unit of the coordinates."""
SAME_AREA = 1.001
"""How much larger the largest pixel of a cell may be than its smallest: the mean is half of that off at most."""
SHARDS_AT_ONCE = 4096
"""Whose pixel areas are found together."""


def codes_of(directory: OutputDirectory) -> Codes:
    """Return what reads the class map of a run, wherever the store is by then."""

    def read(window: Window) -> NDArray[Any]:
        return np.asarray(array_of(store_of(directory), "classes")[window.slices()])

    return read


def store_of(directory: OutputDirectory) -> zarr.Group:
    """Return the store of a run, in work or whole."""
    return open_store(directory.store if directory.store.exists() else directory.store_in_work)


def mask_shards(
    shards: Mapping[tuple[int, int], Sequence[int]], shape: tuple[int, int], mask: Codes
) -> dict[tuple[int, int], tuple[int, int]]:
    """Return by shard how many pixels have a class, and how many have it not or are nodata.

    Parameters
    ----------
    shards, shape
        As in `class_areas`; of which the keys alone are looked at.
    mask
        Reads a window of the result: True if a pixel has the class.
    """
    found = {}
    for key in shards:
        window = _window(*key, shape)
        count = int(np.count_nonzero(mask(window)))
        found[key] = (count, window.height * window.width - count)
    return found


def area_unit(georef: GeoRef) -> str:
    """Return the unit of areas: m2 if there is a CRS, mm2 of slides, else pixels or square map units."""
    return "m2" if georef.crs_wkt is not None else UNITS.get(georef.unit, "mm2")


def planar_areas(counts: Sequence[int], georef: GeoRef) -> list[float] | None:
    """Return count x area of a pixel in the plane of the CRS, in m2; None if the coordinates are no lengths."""
    crs = georef.crs
    factor = None if crs is None else metres_of_unit(crs)
    return None if factor is None else [count * georef.pixel_area * factor**2 for count in counts]


def class_areas(
    shards: Mapping[tuple[int, int], Sequence[int]], shape: tuple[int, int], georef: GeoRef, codes: Codes
) -> list[float]:
    """Return the area of every class, nodata last, in the unit of `area_unit`; of m2 that on the ellipsoid.

    NaN where pixels of the class lie outside the domain of the projection.

    Parameters
    ----------
    shards
        Counts by (shard row, shard column), as the ledger has them.
    shape
        Rows and columns of the result.
    georef
        Of the result.
    codes
        Reads the class map, of which parts may be counted again: each class is the position of its count, nodata is
        the largest code.
    """
    columns = len(next(iter(shards.values()))) if shards else 0
    ground = ground_of(georef)
    if ground is None:
        counts = [sum(counts[i] for counts in shards.values()) for i in range(columns)]
        factor = SQUARE_MILLIMETERS.get(georef.unit, 1.0)
        return planar_areas(counts, georef) or [count * georef.pixel_area * factor for count in counts]
    areas = np.zeros(columns)
    entries = sorted(shards.items())
    for first in range(0, len(entries), SHARDS_AT_ONCE):
        part = entries[first : first + SHARDS_AT_ONCE]
        windows = [_window(row, column, shape) for (row, column), _ in part]
        ranges = _pixel_areas_in(ground, georef, windows)
        for window, (_, shard), pixels in zip(windows, part, ranges, strict=True):
            if _are_same(pixels):
                areas += np.where(np.array(shard) > 0, np.array(shard) * pixels[0], 0.0)
            elif sum(shard[:-1]) == 0:  # nothing but nodata, of which nobody asks the area to a thousandth
                areas[-1] += shard[-1] * float(np.mean(pixels))
            else:
                areas += _counted_again(ground, georef, window, codes(window), columns)
    return [float(area) for area in areas]


def _window(row: int, column: int, shape: tuple[int, int]) -> Window:
    rows, side = shard_shape(shape[1])
    top, left = row * rows, column * side
    return Window.from_edges(top, left, min(top + rows, shape[0]), min(left + side, shape[1]))


def _pixel_areas_in(ground: Ground, georef: GeoRef, windows: Sequence[Window]) -> NDArray[np.float64]:
    """Return windows x 5: the area of a pixel in all of each window, and at its corners."""
    parts = [window for whole in windows for window in (whole, *_corner_pixels(whole))]
    return ground.pixel_areas(georef, parts).reshape(-1, 5)


def _corner_pixels(window: Window) -> Iterator[Window]:
    for row in (window.row, window.row_stop - 1):
        for column in (window.column, window.column_stop - 1):
            yield Window(row, column, 1, 1)


def _are_same(pixels: NDArray[np.float64]) -> bool:
    return bool(pixels.max() <= SAME_AREA * pixels.min())  # False of NaN


def _counted_again(
    ground: Ground, georef: GeoRef, window: Window, codes: NDArray[Any], columns: int
) -> NDArray[np.float64]:
    """Return the areas of the classes in a window, cell by cell."""
    areas = np.zeros(columns)
    largest = int(np.iinfo(codes.dtype).max)
    waiting = [window]
    while waiting:
        ranges = _pixel_areas_in(ground, georef, waiting)
        halves: list[Window] = []
        for cell, pixels in zip(waiting, ranges, strict=True):
            if not _are_same(pixels) and cell.height * cell.width > 1:
                halves += _halves(cell, pixels)
                continue
            part = codes[cell.relative_to(window).slices()]
            found, counts = np.unique(part, return_counts=True)
            # nodata, the largest code, is the last column
            np.add.at(areas, np.where(found == largest, columns - 1, found), counts * pixels[0])
        waiting = halves
    return areas


def _halves(cell: Window, pixels: NDArray[np.float64]) -> list[Window]:
    """Cut a cell across the side along which its pixels differ more; one on the edge of the Earth across the longer."""
    _, a, b, c, d = pixels
    down = max(abs(a - c), abs(b - d))
    across = max(abs(a - b), abs(c - d))
    by_rows = cell.height >= cell.width if np.isnan(down + across) or down == across else down > across
    by_rows = (by_rows and cell.height > 1) or cell.width == 1
    if by_rows:
        middle = cell.row + cell.height // 2
        return [
            Window.from_edges(cell.row, cell.column, middle, cell.column_stop),
            Window.from_edges(middle, cell.column, cell.row_stop, cell.column_stop),
        ]
    middle = cell.column + cell.width // 2
    return [
        Window.from_edges(cell.row, cell.column, cell.row_stop, middle),
        Window.from_edges(cell.row, middle, cell.row_stop, cell.column_stop),
    ]
