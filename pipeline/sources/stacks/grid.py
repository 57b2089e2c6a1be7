"""The grid of a stack, and how the pixels of a member lie on it.

::

    grid      |---|---|---|---|---|---|        pixel i of the grid covers [origin + i f, origin + (i + 1) f)
    member  |-----------|-----------|          of the member, in its own pixels
            0           1           2
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name

FINER_AT_MOST: Final = 100
"""Pixels of a member along one of the grid: all of them are read for it."""
SAME: Final = 1e-4
"""Pixels by which two grids may differ anywhere and still be one: coordinates are rounded decimals."""


@dataclass(frozen=True, slots=True)
class Axis:
    """How pixels along one side of the grid lie on those of a member."""

    factor: float
    """Pixels of the member in one of the grid; below 0 if it is stored the other way round."""
    origin: float
    """Where the grid begins, in pixels of the member."""
    size: int
    """Pixels of the member."""

    @property
    def shift(self) -> int | None:
        """Pixels by which the grid begins later, if both have the same pixels; None if they have not."""
        return round(self.origin) if self.factor == 1 and self.origin == round(self.origin) else None

    def exact(self, length: int) -> Axis:
        """Return the axis without what rounding of coordinates alone put into it."""
        if abs(self.factor - 1) * length <= SAME and abs(self.origin - round(self.origin)) <= SAME:
            return replace(self, factor=1.0, origin=float(round(self.origin)))
        return self


@dataclass(frozen=True, slots=True)
class Placement:
    """How a grid lies on a member."""

    rows: Axis
    """Down."""
    columns: Axis
    """Across."""

    @property
    def is_same(self) -> bool:
        """Whether both have the same pixels, though they may begin and end elsewhere."""
        return self.rows.shift is not None and self.columns.shift is not None


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels onto which the members are brought."""

    georef: GeoRef
    """Of the grid."""
    shape: tuple[int, int]
    """Rows and columns."""
    of: str
    """File that it comes from."""


def grid_of_files(first: str, specs: Sequence[tuple[str, RasterSpec]]) -> Grid:
    """Return the grid of a member, over all of its files.

    Raises
    ------
    SourceError
        If its files have other pixels.
    """
    _, base = specs[0]
    whole = base.window
    for uri, spec in specs[1:]:
        at = placement(Grid(base.georef, base.window.shape, first), uri, spec)
        if not at.is_same:
            msg = f"{shown_name(uri)}: its pixels are not those of {shown_name(first)}, beside which it should lie"
            raise SourceError(msg)
        assert at.rows.shift is not None  # as looked
        assert at.columns.shift is not None
        other = spec.window.shift(-at.rows.shift, -at.columns.shift)
        whole = Window.from_edges(
            min(whole.row, other.row), min(whole.column, other.column),
            max(whole.row_stop, other.row_stop), max(whole.column_stop, other.column_stop),
        )  # fmt: skip
    return Grid(base.georef.of_window(whole), whole.shape, first)


def placement(grid: Grid, uri: str, spec: RasterSpec) -> Placement:
    """Return how a grid lies on a member.

    Parameters
    ----------
    grid
        Of the stack.
    uri, spec
        Of the member.

    Raises
    ------
    SourceError
        If they cannot be brought together: another CRS, turned or far smaller pixels, no position, nothing in common.
    """
    _refuse_other_crs(grid, uri, spec)
    step = ~spec.georef.affine @ grid.georef.affine
    rows, columns = grid.shape
    if max(abs(step.b) * rows, abs(step.d) * columns) > SAME:
        msg = (
            f"{shown_name(uri)}: its rows are turned against those of {shown_name(grid.of)}; bring it onto that grid "
            "first: gdalwarp"
        )
        raise SourceError(msg)
    at = Placement(
        Axis(step.e, step.f, spec.height).exact(rows), Axis(step.a, step.c, spec.width).exact(columns)
    )
    if grid.georef.crs_wkt is None and grid.georef == spec.georef and grid.shape != spec.window.shape:
        _refuse_unplaced(grid, uri, spec)
    finer = max(abs(axis.factor) for axis in (at.rows, at.columns))
    if finer > FINER_AT_MOST:
        msg = (
            f"{shown_name(uri)}: has pixels {finer:,.0f} times smaller than those of {shown_name(grid.of)}, whose grid "
            f"the stack has; up to {FINER_AT_MOST} times are accepted: give --grid-of another member"
        )
        raise SourceError(msg)
    if not all(
        _touches(axis, length) for axis, length in zip((at.rows, at.columns), grid.shape, strict=True)
    ):
        msg = (
            f"{shown_name(uri)}: has no pixel in common with {shown_name(grid.of)}, whose grid the stack has"
        )
        raise SourceError(msg)
    return at


def _touches(axis: Axis, length: int) -> bool:
    ends = axis.origin, axis.origin + axis.factor * length
    return max(ends) > 0 and min(ends) < axis.size


def _refuse_other_crs(grid: Grid, uri: str, spec: RasterSpec) -> None:
    own, wanted = spec.georef.crs, grid.georef.crs
    if own is None and wanted is None and spec.georef.unit == grid.georef.unit:
        return
    if own is not None and wanted is not None and (own == wanted or own.equals(wanted, True)):
        return
    found, asked = (
        "no CRS" if crs is None else (crs.to_string() if crs.to_epsg() else crs.name) for crs in (own, wanted)
    )
    msg = (
        f"{shown_name(uri)}: has {found}, but {shown_name(grid.of)} has {asked}; the members of a stack have one CRS: "
        "bring it onto that grid first (gdalwarp), or segment it alone and bring its map there with --like"
    )
    raise SourceError(msg)


def _refuse_unplaced(grid: Grid, uri: str, spec: RasterSpec) -> None:
    """Refuse pictures without a position that have other sizes: nothing says how they lie on each other."""
    msg = (
        f"{shown_name(uri)}: has {spec.height} x {spec.width} px and no georeference, but {shown_name(grid.of)} has "
        f"{grid.shape[0]} x {grid.shape[1]}; nothing says how they lie on each other"
    )
    raise SourceError(msg)


def is_finer(one: RasterSpec, other: RasterSpec) -> bool:
    """Return whether pixels are smaller than others in the same unit, by more than rounding."""
    if (one.georef.crs_wkt is None) != (other.georef.crs_wkt is None):
        return False
    return one.georef.pixel_area < other.georef.pixel_area * (1 - 1e-9) and math.isfinite(
        one.georef.pixel_area
    )
