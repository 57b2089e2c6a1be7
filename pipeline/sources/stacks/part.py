r"""A part of a stack: one open file on the grid, as it is or resampled.

A pixel holds data where the pixel of the file under its centre does, and its value is the mean of the pixels around
that hold data, as GDAL's warper has it::

    file    |   5   |   -   |   8   |        -: no data
    grid    | 5 | 5 | - | - | 8 | 8 |        bilinear: weights of missing pixels go to the others

Weights and sums are those of `resample`: no value depends on the window that it is read with (decision 0041).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source
from segment_tiles.pipeline.sources.resampling.filters import Taps, along, taps
from segment_tiles.pipeline.sources.stacks.description import MemberResampling
from segment_tiles.pipeline.sources.stacks.grid import Axis, Placement
from segment_tiles.pipeline.sources.validity import not_finite

ON_AN_EDGE: Final = 1e-7
"""Pixels by which a centre may lie before the edge between two pixels and still belong to the second."""
A_HALF: Final = 0.5 + 1e-9
"""Integers are rounded half up, as GDAL does; sums of weights are a little off."""
PIECE: Final = 512
"""Pixels along a side, of the grid and of the file, of what is resampled at once: bounds the float64 in work."""
WORK_BYTES: Final = 64 * PIECE * PIECE
"""What a piece takes, at most: eight float64, one after the other axis and with and without what is missing."""

Read = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Bands x rows x columns, and which pixels hold data: rows x columns; None if all do."""


@dataclass(frozen=True, slots=True)
class Part:
    """An open file, and where its bands lie in the stack."""

    source: Source
    """Opened with the bands that are wanted; one alone if it is resampled."""
    positions: tuple[int, ...]
    """Of its bands in the stack."""
    at: Placement
    """How the grid lies on it."""
    resampling: MemberResampling
    """If it has other pixels."""
    file: str = ""
    """Its name."""
    is_layered: bool = False
    """Whether its bands have further files."""
    layer: int = 0
    """Its position among them."""

    @property
    def work_bytes(self) -> int:
        """What reading takes beside the values, with what the file itself takes."""
        return self.source.spec.work_bytes + (0 if self.at.is_same else WORK_BYTES)

    @property
    def kept_bytes(self) -> int:
        """What is kept from one read to the next."""
        return 0

    def covered(self, window: Window) -> Window:
        """Return what of a window of the grid has its centres inside the file."""
        rows = _covered(self.at.rows, window.row, window.row_stop)
        columns = _covered(self.at.columns, window.column, window.column_stop)
        return Window.from_edges(rows[0], columns[0], rows[1], columns[1])

    def read(self, window: Window) -> Read:
        """Return values and validity of a window of the grid that is `covered`."""
        rows, columns = self.at.rows.shift, self.at.columns.shift
        if rows is not None and columns is not None:
            return self._native(window.shift(rows, columns))
        resampled = self._nearest if self.resampling == "nearest" else self._bilinear
        values = np.empty((len(self.positions), *window.shape), self.source.spec.dtype)
        valid = np.ones(window.shape, bool)
        for piece in self._pieces(window):
            read, held = resampled(piece)
            box = piece.relative_to(window).slices()
            values[:, *box] = read
            if held is not None:
                valid[box] = held
        return values, None if valid.all() else valid

    def thumbnail(self, window: Window, shape: tuple[int, int]) -> Read:
        """Return a window that is `covered` decimated to a shape by the nearest pixel, to a pixel of the file."""
        values, valid = self.source.thumbnail(self._touched(window), shape)
        down, across = (
            slice(None, None, -1 if axis.factor < 0 else 1) for axis in (self.at.rows, self.at.columns)
        )
        return values[:, down, across], None if valid is None else valid[down, across]

    def is_surely_empty(self, window: Window) -> bool:
        """Return True only if the file has no data in a window of the grid."""
        inside = self.covered(window)
        return inside.is_empty or (
            isinstance(self.source, KnowsHoles) and self.source.is_surely_empty(self._touched(inside))
        )

    def _native(self, window: Window) -> Read:
        values = self.source.read(window)
        return values, self.source.valid(window, values)

    def _touched(self, window: Window) -> Window:
        """Return the pixels of the file under the centres of a window of the grid."""
        down = under_centres(self.at.rows, window.row, window.row_stop)
        across = under_centres(self.at.columns, window.column, window.column_stop)
        return Window.from_edges(
            int(down.min()), int(across.min()), int(down.max()) + 1, int(across.max()) + 1
        )

    def _nearest(self, window: Window) -> Read:
        there = self._touched(window)
        values, valid = self._native(there)
        rows = under_centres(self.at.rows, window.row, window.row_stop) - there.row
        columns = under_centres(self.at.columns, window.column, window.column_stop) - there.column
        down, across = np.ix_(rows, columns)
        return values[:, down, across], None if valid is None else valid[down, across]

    def _pieces(self, window: Window) -> list[Window]:
        height, width = (
            max(1, int(PIECE / max(1.0, abs(axis.factor)))) for axis in (self.at.rows, self.at.columns)
        )
        return [
            Window(row, column, height, width).intersect(window)
            for row in range(window.row, window.row_stop, height)
            for column in range(window.column, window.column_stop, width)
        ]

    def _bilinear(self, piece: Window) -> Read:
        down, across = self.at.rows, self.at.columns
        rows = taps(piece.row, piece.row_stop, down.factor, down.size, down.origin)
        columns = taps(piece.column, piece.column_stop, across.factor, across.size, across.origin)
        values, valid = self._native(Window.from_edges(rows.start, columns.start, rows.stop, columns.stop))
        missing = None if valid is None else ~valid
        if missing is None:
            return typed(_mean(values, rows, columns), values.dtype), None
        centres = np.ix_(
            under_centres(down, piece.row, piece.row_stop) - rows.start,
            under_centres(across, piece.column, piece.column_stop) - columns.start,
        )
        held = ~missing[centres]
        mean = _mean_of_held(values, missing, rows, columns)
        return typed(np.where(held, mean, 0), values.dtype), None if held.all() else held


def under_centres(axis: Axis, start: int, stop: int) -> NDArray[np.intp]:
    """Return the pixel of a file under the centre of each pixel [start, stop) of the grid; it may lie outside."""
    centres = axis.origin + (np.arange(start, stop) + 0.5) * axis.factor
    return np.asarray(np.floor(centres + ON_AN_EDGE), np.intp)


def _covered(axis: Axis, start: int, stop: int) -> tuple[int, int]:
    found = under_centres(axis, start, stop)
    inside = np.flatnonzero((found >= 0) & (found < axis.size))
    return (start + int(inside[0]), start + int(inside[-1]) + 1) if inside.size else (start, start)


def _mean(values: NDArray[Any], rows: Taps, columns: Taps) -> NDArray[np.float64]:
    work = np.dtype(np.float64)
    return along(along(values, rows, 1, work), columns, 2, work)


def _mean_of_held(
    values: NDArray[Any], missing: NDArray[np.bool_], rows: Taps, columns: Taps
) -> NDArray[np.float64]:
    """Return means of the values that are not missing; what touches none is as if none were missing anywhere."""
    kept = np.where(missing | (not_finite(values) if values.dtype.kind == "f" else False), 0, values)
    weight = _mean(missing[np.newaxis], rows, columns)
    touched = (weight > 0) & (weight < 1)
    mean = _mean(kept, rows, columns)
    return np.where(touched, mean / np.where(touched, 1 - weight, 1), mean)


def typed(mean: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return means as values of a type, of integers rounded half up."""
    if dtype.kind == "f":
        return mean.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.floor(mean + A_HALF), limits.min, limits.max).astype(dtype)
