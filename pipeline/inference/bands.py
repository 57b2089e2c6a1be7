"""Input bands: the rows of pixels that one row of tiles reads, each source row read once.

::

    band i      rows [iS, iS + T)      new rows only: the overlap is carried from band i-1
    band i+1         [(i+1)S, ...)     read by another thread while band i is computed

A band is as wide as the tiles of the Region need. If the last tile overhangs the raster, its
own pixels are reflected, without repeating the edge (``numpy.pad`` mode ``reflect``); a function
of that tile alone, so that no Region and no ROI changes it. With a margin m, tiles begin m pixels
before the edge and neighbours of the last one overhang as well, by less than m: what they share
beyond the edge is the same in both, since each has m + 1 pixels inside or the whole raster.
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
from segment_tiles.pipeline.sources.of_bands import Mask, lacking_alone, missing_of, shown
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
    lacking: NDArray[np.bool_] | None
    """bands x T x band width: values that are missing in pixels that hold data; None if none is."""
    wanted: NDArray[np.bool_] | None
    """Rows and columns that get scores (without the margin): valid pixels inside AOI and raster; None if all are."""
    seconds: float = 0.0
    """Time that reading and decoding took."""

    def is_wanted(self, column: int, side: int) -> bool:
        """Return whether a tile has any pixel to compute: of `side` columns from this one of `wanted` on."""
        if self.values is None:
            return False
        return self.wanted is None or bool(self.wanted[:, column : column + side].any())

    def shown(self, columns: slice) -> NDArray[np.bool_] | None:
        """Return what the network sees as it is of some columns: 1 or bands x T x columns; None: all."""
        valid = None if self.valid is None else self.valid[:, columns]
        return shown(valid, None if self.lacking is None else self.lacking[:, :, columns])


def reflected(length: int, size: int, before: int = 0) -> NDArray[np.intp]:
    """Return for each of ``length`` positions, of which some lie ``before`` 0, the index in [0, size) that it mirrors.

    >>> reflected(7, 3).tolist(), reflected(3, 1).tolist(), reflected(5, 3, before=2).tolist()
    ([0, 1, 2, 1, 0, 1, 2], [0, 0, 0], [2, 1, 0, 1, 2])
    """
    position = np.arange(length) - before
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
        self.width = columns.start(self.column_indices[-1]) + lattice.tile - self._left
        self._previous: InputBand | None = None

    @property
    def left(self) -> int:
        """Column of the raster at which bands start; below 0 before its edge."""
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
        margin, rows = self._lattice.margin, self._lattice.rows
        band = Window(rows.start(row_index), self._left, self._lattice.tile, self.width)
        raster = Window(0, 0, self._lattice.height, self._lattice.width)
        inside, scored = band.intersect(raster), band.grow(-margin).intersect(raster)
        outside = self._area is not None and not self._area.meets(scored)
        if outside or self._is_surely_empty(inside):
            self._previous = None
            return InputBand(row_index, None, None, None, None, perf_counter() - started)
        values, valid, lacking = self._read_pixels(band, inside)
        wanted = None if valid is None else valid[scored.relative_to(inside).slices()]
        wanted = wanted if self._area is None else both(wanted, self._area.mask(scored))
        read = InputBand(
            row_index,
            values,
            None if valid is None else self._reflected(valid[np.newaxis], band, inside)[0],
            None if lacking is None else self._reflected(lacking, band, inside),
            _filled_up(wanted, scored, band.grow(-margin)),
            perf_counter() - started,
        )
        self._previous = read
        return read

    def _read_pixels(self, band: Window, inside: Window) -> tuple[NDArray[Any], Mask | None, Mask | None]:
        """Return the values of a band, and of its inside the valid pixels and the values that single bands lack.

        The pixels of both it had before are copied.

        ::

            band before   |....|=====carried=====|          .... = its rows above those of this band
            this band          |=====carried=====|--fresh--|
        """
        spec = self._source.spec
        values = np.empty((spec.bands, *band.shape), dtype=spec.dtype)
        valid: Mask | None = None
        lacking: Mask | None = None
        carried = 0
        if self._previous is not None and self._previous.values is not None:
            stride = self._lattice.rows.stride
            # down to where the band before ended, the raster too
            carried = min(band.row + self._lattice.overlap, inside.row_stop) - inside.row
            to = slice(inside.row - band.row, inside.row - band.row + carried)
            of = slice(to.start + stride, to.stop + stride)
            values[:, to] = self._previous.values[:, of]
            own = slice(inside.column - band.column, inside.column - band.column + inside.width)
            if self._previous.valid is not None:
                valid = np.ones(inside.shape, dtype=bool)
                valid[:carried] = self._previous.valid[of, own]
            if self._previous.lacking is not None:
                lacking = np.zeros((spec.bands, *inside.shape), dtype=bool)
                lacking[:, :carried] = self._previous.lacking[:, of, own]
        fresh = Window.from_edges(inside.row + carried, inside.column, inside.row_stop, inside.column_stop)
        for part in () if fresh.is_empty else parts_of(fresh, spec.chunk, -(-fresh.width // READ_AT_ONCE)):
            own_valid, own_lacking = self._read_part(
                part, values[(slice(None), *part.relative_to(band).slices())]
            )
            box = part.relative_to(inside).slices()
            if own_valid is not None:
                valid = np.ones(inside.shape, dtype=bool) if valid is None else valid
                valid[box] = own_valid
            if own_lacking is not None:
                lacking = np.zeros((spec.bands, *inside.shape), dtype=bool) if lacking is None else lacking
                lacking[(slice(None), *box)] = own_lacking
        self._reflect(values, band, inside)
        lacking = lacking if lacking is None or lacking.any() else None
        return values, valid if valid is None or not valid.all() else None, lacking

    def _read_part(self, part: Window, out: NDArray[Any]) -> tuple[Mask | None, Mask | None]:
        """Fill in the values of a part and return its masks; if it surely holds no data, nothing is decoded."""
        if self._is_surely_empty(part):
            out[:] = 0  # no value is seen
            return np.zeros(part.shape, dtype=bool), None
        read_into(self._source, part, out)
        valid = self._source.valid(part, out)
        return valid, lacking_alone(missing_of(self._source, part, out), valid)

    def _is_surely_empty(self, window: Window) -> bool:
        return isinstance(self._source, KnowsHoles) and self._source.is_surely_empty(window)

    def _reflect(self, values: NDArray[Any], band: Window, inside: Window) -> None:
        """Fill what lies beyond the edges of the raster, of bands x rows x columns."""
        side = self._lattice.tile
        above, left = inside.row - band.row, inside.column - band.column
        right, below = left + inside.width, above + inside.height
        rows = slice(above, below)
        if left:
            own = min(side - left, inside.width)  # columns of the first tile that are inside
            values[:, rows, :left] = values[:, rows, left + reflected(left, own, before=left)]
        if right < self.width:
            outside = max(0, self.width - side - left)  # columns inside that the last tile does not read
            own = inside.width - outside
            source = left + outside + reflected(self.width - left - outside, own)[own:]
            values[:, rows, right:] = values[:, rows, source]
        if above or below < side:
            source = above + reflected(side, inside.height, before=above)
            values[:, :above] = values[:, source[:above]]
            values[:, below:] = values[:, source[below:]]

    def _reflected(self, mask: Mask, band: Window, inside: Window) -> Mask:
        """Return a mask, layers x rows x columns, reflected beyond the edges of the raster."""
        if band == inside:
            return mask
        whole = np.empty((len(mask), *band.shape), dtype=bool)
        whole[(slice(None), *inside.relative_to(band).slices())] = mask
        self._reflect(whole, band, inside)
        return whole


def _filled_up(wanted: NDArray[np.bool_] | None, scored: Window, whole: Window) -> NDArray[np.bool_] | None:
    """Return the wanted pixels of all that gets scores; beyond the raster there are none."""
    if wanted is None and scored == whole:
        return None
    filled = np.zeros(whole.shape, dtype=bool)
    filled[scored.relative_to(whole).slices()] = True if wanted is None else wanted
    return filled
