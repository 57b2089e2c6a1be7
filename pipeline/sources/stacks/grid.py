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

from affine import Affine

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.resampling.crossing import Crossing, crossing

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
    crossing: Crossing | None = None
    """Where its pixels lie, if it has another CRS or is turned: the axes tell the size of pixels alone then."""

    @property
    def is_same(self) -> bool:
        """Whether both have the same pixels, though they may begin and end elsewhere."""
        return self.crossing is None and self.rows.shift is not None and self.columns.shift is not None


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels onto which the members are brought."""

    georef: GeoRef
    """Of the grid."""
    shape: tuple[int, int]
    """Rows and columns."""
    of: str
    """File that it comes from."""
    takes_all: bool = False
    """Whether members of another CRS, and turned ones, are warped onto it; else they are refused."""


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


def lies_apart(grid: Grid, spec: RasterSpec) -> bool:
    """Return whether a member has to be warped onto a grid: it has another CRS, or rows that are turned against it."""
    if grid.georef.crs_wkt is None or spec.georef.crs_wkt is None:
        return False
    return not _have_one_crs(grid, spec) or _is_turned(grid, ~spec.georef.affine @ grid.georef.affine)


def _is_turned(grid: Grid, step: Affine) -> bool:
    rows, columns = grid.shape
    return max(abs(step.b) * rows, abs(step.d) * columns) > SAME


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
    if grid.takes_all and lies_apart(grid, spec):
        return _crossed(grid, uri, spec)
    if not _have_one_crs(grid, spec):
        _refuse_other_crs(grid, uri, spec)
    step = ~spec.georef.affine @ grid.georef.affine
    rows, columns = grid.shape
    if _is_turned(grid, step):
        msg = (
            f"{shown_name(uri)}: its rows are turned against those of {shown_name(grid.of)}; --like RASTER brings all "
            "members onto the grid of a raster, --grid-of NAME onto that of a member"
        )
        raise SourceError(msg)
    at = Placement(
        Axis(step.e, step.f, spec.height).exact(rows), Axis(step.a, step.c, spec.width).exact(columns)
    )
    if grid.georef.crs_wkt is None and grid.georef == spec.georef and grid.shape != spec.window.shape:
        _refuse_unplaced(grid, uri, spec)
    _refuse_far_finer(grid, uri, at)
    if not all(
        _touches(axis, length) for axis, length in zip((at.rows, at.columns), grid.shape, strict=True)
    ):
        raise _nothing_in_common(grid, uri)
    return at


def _crossed(grid: Grid, uri: str, spec: RasterSpec) -> Placement:
    """Return how a grid lies on a member that is warped onto it."""
    across = crossing(grid.georef, grid.shape, spec.georef, spec.window.shape)
    factors = None if across.covered.is_empty else across.factors()
    if factors is None:
        raise _nothing_in_common(grid, uri)
    at = Placement(Axis(factors[0], 0.0, spec.height), Axis(factors[1], 0.0, spec.width), across)
    _refuse_far_finer(grid, uri, at)
    return at


def _refuse_far_finer(grid: Grid, uri: str, at: Placement) -> None:
    finer = max(abs(axis.factor) for axis in (at.rows, at.columns))
    if finer > FINER_AT_MOST:
        msg = (
            f"{shown_name(uri)}: has pixels {finer:,.0f} times smaller than those of {shown_name(grid.of)}, whose grid "
            f"the stack has; up to {FINER_AT_MOST} times are accepted: give --grid-of another member"
        )
        raise SourceError(msg)


def _nothing_in_common(grid: Grid, uri: str) -> SourceError:
    return SourceError(
        f"{shown_name(uri)}: has no pixel in common with {shown_name(grid.of)}, whose grid the stack has"
    )


def _touches(axis: Axis, length: int) -> bool:
    ends = axis.origin, axis.origin + axis.factor * length
    return max(ends) > 0 and min(ends) < axis.size


def _have_one_crs(grid: Grid, spec: RasterSpec) -> bool:
    own, wanted = spec.georef.crs, grid.georef.crs
    if own is None or wanted is None:
        return own is wanted and spec.georef.unit == grid.georef.unit
    return own == wanted or own.equals(wanted, True)


def _refuse_other_crs(grid: Grid, uri: str, spec: RasterSpec) -> None:
    own, wanted = spec.georef.crs, grid.georef.crs
    found, asked = (
        "no CRS" if crs is None else (crs.to_string() if crs.to_epsg() else crs.name) for crs in (own, wanted)
    )
    help = (
        "--like RASTER brings all members onto the grid of a raster, --grid-of NAME onto that of a member"
        if own is not None and wanted is not None
        else "the members of a stack all have a CRS, or none has: gdal_edit.py -a_srs EPSG:CODE"
    )
    msg = f"{shown_name(uri)}: has {found}, but {shown_name(grid.of)} has {asked}; {help}"
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
