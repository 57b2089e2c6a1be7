"""Input bands: the rows of pixels that one row of tiles reads, each source row read once.

::

    band i      rows [iS, iS + T)      new rows only: the overlap is carried from band i-1
    band i+1         [(i+1)S, ...)     read by another thread while band i is computed

A band is as wide as the tiles of the Region need. If the last tile overhangs the raster, its
own pixels are reflected, without repeating the edge (``numpy.pad`` mode ``reflect``); a function
of that tile alone, so that no Region and no ROI changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.area_of_interest import Area
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source, read_into
from segment_tiles.pipeline.sources.validity import both
from segment_tiles.pipeline.sources.window_parts import parts_of

READ_AT_ONCE = 2048
"""Columns of one read. A source returns a copy, which need not be as wide as the band, and parts without data are not
decoded."""


@dataclass(frozen=True, slots=True)
class InputBand:
    """What one row of tiles reads: tile side x band width, reflected beyond the edge of the raster."""

    row_index: int
    """Index of the row of tiles, i."""
    values: NDArray[Any] | None
    """bands x T x band width; None if nothing in the row is wanted, so nothing was read."""
    valid: NDArray[np.bool_] | None
    """T x band width: pixels that hold data, for the network; None if all do."""
    wanted: NDArray[np.bool_] | None
    """T x band width: valid pixels inside the AOI and the raster, for the result; None if all are."""
    seconds: float = 0.0
    """Time that reading and decoding took."""

    def is_wanted(self, column: int, side: int) -> bool:
        """Return whether a tile that starts at this column of the band has any pixel to compute."""
        if self.values is None:
            return False
        return self.wanted is None or bool(self.wanted[:, column : column + side].any())


def reflected(length: int, size: int) -> NDArray[np.intp]:
    """Return for each of ``length`` positions the index in [0, size) that it mirrors.

    >>> reflected(7, 3).tolist(), reflected(3, 1).tolist()
    ([0, 1, 2, 1, 0, 1, 2], [0, 0, 0])
    """
    position = np.arange(length)
    if size == 1:
        return np.zeros(length, dtype=np.intp)
    period = 2 * (size - 1)
    position = position % period
    return np.where(position < size, position, period - position).astype(np.intp)


class BandReader:
    """Reads the bands of a Region in order; one use, one thread at a time."""

    def __init__(self, source: Source, lattice: Lattice, region: Window, area: Area | None = None) -> None:
        self._source, self._lattice, self._area = source, lattice, area
        self.row_indices = lattice.rows.covering(region.row, region.row_stop)
        self.column_indices = lattice.columns.covering(region.column, region.column_stop)
        columns = lattice.columns
        self._left = columns.start(self.column_indices[0])
        self._right = columns.stop(self.column_indices[-1])
        self.width = columns.start(self.column_indices[-1]) + lattice.tile - self._left
        self._previous: InputBand | None = None

    @property
    def left(self) -> int:
        """Column of the raster at which bands start."""
        return self._left

    def read_ahead(self) -> Iterator[InputBand]:
        """Yield the bands from top to bottom, reading the next while the caller works on one."""
        with ContextPool(1, thread_name_prefix="read") as pool:
            following: Future[InputBand] | None = None
            try:
                for index in self.row_indices:
                    band = self.read(index) if following is None else following.result()
                    following = pool.submit(self.read, index + 1) if index + 1 in self.row_indices else None
                    yield band
            finally:
                if following is not None:
                    following.cancel()

    def read(self, row_index: int) -> InputBand:
        """Read one band; the rows that it shares with the one before are copied, not read again."""
        started = perf_counter()
        rows = self._lattice.rows
        inside = Window.from_edges(rows.start(row_index), self._left, rows.stop(row_index), self._right)
        outside = self._area is not None and not self._area.meets(inside)
        if outside or self._is_surely_empty(inside):
            self._previous = None
            return InputBand(row_index, None, None, None, perf_counter() - started)
        values, valid = self._read_pixels(inside)
        wanted = valid if self._area is None else both(valid, self._area.mask(inside))
        band = InputBand(
            row_index,
            values,
            self._overhang(valid, inside, fill=None),
            self._overhang(wanted, inside, fill=False),
            perf_counter() - started,
        )
        self._previous = band
        return band

    def _read_pixels(self, inside: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        side, spec = self._lattice.tile, self._source.spec
        values = np.empty((spec.bands, side, self.width), dtype=spec.dtype)
        valid: NDArray[np.bool_] | None = None
        carried = 0
        if self._previous is not None and self._previous.values is not None:
            carried = min(self._lattice.overlap, inside.height)
            stride = self._lattice.rows.stride
            values[:, :carried] = self._previous.values[:, stride : stride + carried]
            if self._previous.valid is not None:
                valid = np.ones(inside.shape, dtype=bool)
                valid[:carried] = self._previous.valid[stride : stride + carried, : inside.width]
        fresh = Window.from_edges(inside.row + carried, inside.column, inside.row_stop, inside.column_stop)
        for part in () if fresh.is_empty else parts_of(fresh, spec.chunk, -(-fresh.width // READ_AT_ONCE)):
            box = part.relative_to(inside).slices()
            part_valid = self._read_part(part, values[(slice(None), *box)])
            if part_valid is not None:
                valid = np.ones(inside.shape, dtype=bool) if valid is None else valid
                valid[box] = part_valid
        self._reflect(values, inside)
        return values, valid if valid is None or not valid.all() else None

    def _read_part(self, part: Window, out: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Fill in the values of a part and return its mask; if it surely holds no data, nothing is decoded."""
        if self._is_surely_empty(part):
            out[:] = 0  # no value is seen
            return np.zeros(part.shape, dtype=bool)
        read_into(self._source, part, out)
        return self._source.valid(part, out)

    def _is_surely_empty(self, window: Window) -> bool:
        return isinstance(self._source, KnowsHoles) and self._source.is_surely_empty(window)

    def _reflect(self, values: NDArray[Any], inside: Window) -> None:
        """Fill what lies beyond the right and the bottom edge of the raster."""
        side = self._lattice.tile
        if inside.width < self.width:
            own = inside.width - (self.width - side)  # columns of the last tile that are inside
            source = self.width - side + reflected(side, own)[own:]
            values[:, : inside.height, inside.width :] = values[:, : inside.height, source]
        if inside.height < side:
            values[:, inside.height :] = values[:, reflected(side, inside.height)[inside.height :]]

    def _overhang(
        self, mask: NDArray[np.bool_] | None, inside: Window, fill: bool | None
    ) -> NDArray[np.bool_] | None:
        """Extend a mask of the inside to the band: reflected (``fill`` None) or filled."""
        side = self._lattice.tile
        overhangs = inside.shape != (side, self.width)
        if mask is None and (fill is None or not overhangs):
            return None
        whole = np.full((side, self.width), bool(fill))
        whole[: inside.height, : inside.width] = True if mask is None else mask
        if fill is None and overhangs:
            self._reflect(whole[np.newaxis], inside)
        return whole
