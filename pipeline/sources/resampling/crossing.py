"""How a grid lies on a member of another CRS, or on one whose rows are turned against it: pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window

SAMPLES: Final = 21
"""Along a side of a window: positions between them are smooth."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where pixels of a grid lie in those of a member."""

    grid: GeoRef
    """Of the grid."""
    member: GeoRef
    """Of the member."""
    size: tuple[int, int]
    """Rows and columns of the member."""
    covered: Window
    """Pixels of the grid that it may touch."""

    def positions(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rows and columns of the member, with fractions, of those of the grid; infinite where there is none."""
        to_world, to_member = self.grid.affine, ~self.member.affine
        x = to_world.a * columns + to_world.b * rows + to_world.c
        y = to_world.d * columns + to_world.e * rows + to_world.f
        if self.grid.crs_wkt != self.member.crs_wkt:
            x, y = _between(self.grid.crs_wkt, self.member.crs_wkt).transform(x, y)
        down = to_member.d * x + to_member.e * y + to_member.f
        return down, to_member.a * x + to_member.b * y + to_member.c

    def sampled(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return finite positions of points all over a window, its edges with them."""
        rows = np.linspace(window.row, window.row_stop, SAMPLES)
        columns = np.linspace(window.column, window.column_stop, SAMPLES)
        found = self.positions(*np.meshgrid(rows, columns, indexing="ij"))
        there = np.isfinite(found[0]) & np.isfinite(found[1])
        return found[0][there], found[1][there]

    def needed(self, window: Window, reach: int) -> Window:
        """Return the pixels of the member that a window of the grid needs, and so many more on every side."""
        rows, columns = self.sampled(window)
        if not rows.size:
            return Window(0, 0, 0, 0)
        box = Window.from_edges(
            math.floor(_limited(rows.min())) - reach,
            math.floor(_limited(columns.min())) - reach,
            math.ceil(_limited(rows.max())) + reach,
            math.ceil(_limited(columns.max())) + reach,
        )
        return box.intersect(Window(0, 0, *self.size))

    def factors(self) -> tuple[float, float] | None:
        """Return pixels of the member in one of the grid, down and across, where both lie; None if they never do."""
        box = self.covered
        rows, columns = (
            np.linspace(start, stop, SAMPLES)
            for start, stop in ((box.row, box.row_stop), (box.column, box.column_stop))
        )
        points = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
        middle = np.array([[box.row + box.height / 2], [box.column + box.width / 2]])
        for row, column in points[:, np.argsort(np.abs(points - middle).sum(axis=0), kind="stable")].T:
            down, across = self.positions(
                np.array([row - 0.5, row + 0.5, row, row]),
                np.array([column, column, column - 0.5, column + 0.5]),
            )
            steps = (
                math.hypot(down[1] - down[0], down[3] - down[2]),
                math.hypot(across[1] - across[0], across[3] - across[2]),
            )
            if all(math.isfinite(step) and step > 0 for step in steps):
                return steps
        return None


def crossing(grid: GeoRef, shape: tuple[int, int], member: GeoRef, size: tuple[int, int]) -> Crossing:
    """Return how a grid of rows and columns lies on a member of such a size; both have a CRS, or neither has."""
    whole = Window(0, 0, *shape)
    try:
        bounds = member.bounds(Window(0, 0, *size))
        if grid.crs_wkt != member.crs_wkt:
            bounds = transform_bounds(member.crs_wkt, grid.crs_wkt, *bounds, densify_pts=99)
    except RasterioError:
        return Crossing(
            grid, member, size, whole
        )  # a part of it lies outside of what the CRS of the grid knows
    if not all(map(math.isfinite, bounds)) or bounds[0] > bounds[2]:
        return Crossing(grid, member, size, whole)
    row, column, row_stop, column_stop = grid.pixel_box(bounds)
    edges = (math.floor(row) - 1, math.floor(column) - 1, math.ceil(row_stop) + 1, math.ceil(column_stop) + 1)
    box = Window.from_edges(*edges) if edges[0] < edges[2] else whole
    return Crossing(grid, member, size, box.intersect(whole))


def _limited(position: float) -> float:
    """Return a position that fits into an integer."""
    return float(np.clip(position, -1e12, 1e12))


@lru_cache(maxsize=32)
def _between(start: Any, end: Any) -> Transformer:
    return Transformer.from_crs(start, end, always_xy=True)
