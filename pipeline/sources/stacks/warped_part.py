"""A part of a stack that GDAL warps onto the grid, for it has another CRS or is turned.

::

    grid    | block | block | block |       every block is warped as a whole, whatever window is read:
                |--window--|                so no value depends on it (decision 0041)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import KnowsHoles
from segment_tiles.pipeline.sources.resampling.crossing import Crossing
from segment_tiles.pipeline.sources.stacks.part import Part, Read, typed

BLOCK: Final = 256
"""Pixels of the grid along a side of what is warped at once."""
READ_AT_MOST: Final = 2**20
"""Pixels of the member that are read for it; of a block that needs more, its quarters are warped."""
KEPT: Final = 16
"""Blocks that are kept: the next tile needs them too."""
WARP_BYTES: Final = 5 * 8 * READ_AT_MOST + 8 * 8 * BLOCK * BLOCK
"""What a block takes, at most: what is read as float64 and GDAL's copy of it, and blocks with their positions."""
EXACT: Final = 1e-9
"""Pixels that positions may be off; of 0 rasterio makes no view."""
REACH: Final = 3
"""Pixels of the member around those that a block needs: its filter, and what positions between samples may be off."""


@dataclass(frozen=True, slots=True)
class WarpedPart(Part):
    """An open file of one band that is warped onto the grid."""

    _kept: dict[tuple[int, int], Read] = field(default_factory=dict, compare=False, repr=False)

    @property
    def _crossing(self) -> Crossing:
        assert self.at.crossing is not None  # else it is no warped part
        return self.at.crossing

    @property
    def work_bytes(self) -> int:
        """What reading takes beside the values, with what the file itself takes."""
        return self.source.spec.work_bytes + WARP_BYTES

    @property
    def kept_bytes(self) -> int:
        """What is kept from one read to the next."""
        return KEPT * BLOCK * BLOCK * (1 + self.source.spec.item_size)

    def covered(self, window: Window) -> Window:
        """Return what of a window of the grid the file may touch."""
        return window.intersect(self._crossing.covered)

    def read(self, window: Window) -> Read:
        """Return values and validity of a window of the grid."""
        values = np.empty((len(self.positions), *window.shape), self.source.spec.dtype)
        valid = np.zeros(window.shape, bool)
        for row in range(window.row // BLOCK, -(-window.row_stop // BLOCK)):
            for column in range(window.column // BLOCK, -(-window.column_stop // BLOCK)):
                block = Window(row * BLOCK, column * BLOCK, BLOCK, BLOCK)
                shared = block.intersect(window)
                there, here = shared.relative_to(block).slices(), shared.relative_to(window).slices()
                found, held = self._block(row, column)
                values[:, *here] = found[:, *there]
                valid[here] = True if held is None else held[there]
        return values, None if valid.all() else valid

    def thumbnail(self, window: Window, shape: tuple[int, int]) -> Read:
        """Return a window decimated to a shape by the nearest pixel of the file decimated as much."""
        rows, columns = (
            start + (np.arange(count) + 0.5) * side / count
            for start, side, count in zip((window.row, window.column), window.shape, shape, strict=True)
        )
        down, across = self._crossing.positions(*np.meshgrid(rows, columns, indexing="ij"))
        box = self._crossing.needed(window, REACH)
        values = np.zeros((len(self.positions), *shape), self.source.spec.dtype)
        if box.is_empty:
            return values, np.zeros(shape, bool)
        small = min(box.height, shape[0]), min(box.width, shape[1])
        read, held = self.source.thumbnail(box, small)
        with np.errstate(invalid="ignore"):
            row, column = (
                (down - box.row) * small[0] / box.height,
                (across - box.column) * small[1] / box.width,
            )
            inside = (row >= 0) & (row < small[0]) & (column >= 0) & (column < small[1])
        at = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
        values[:] = read[:, *at]
        return values, inside if held is None else inside & held[at]

    def is_surely_empty(self, window: Window) -> bool:
        """Return True only if the file has no data in a window of the grid."""
        inside = self.covered(window)
        if inside.is_empty:
            return True
        needed = self._crossing.needed(inside, REACH)
        return needed.is_empty or (
            isinstance(self.source, KnowsHoles) and self.source.is_surely_empty(needed)
        )

    def _block(self, row: int, column: int) -> Read:
        """Return values and validity of a block, also beyond the edge of the grid."""
        found = self._kept.pop((row, column), None)
        if found is None:
            found = self._made(Window(row * BLOCK, column * BLOCK, BLOCK, BLOCK))
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
        self._kept[row, column] = found  # the last that was used
        return found

    def _made(self, block: Window) -> Read:
        values = np.full((len(self.positions), *block.shape), np.nan)
        for piece, needed in self._needs(block):
            box = piece.relative_to(block).slices()
            for band, out in zip(self._of_member(needed), values, strict=True):
                out[box] = self._warped(band, needed, piece)
        held = np.isfinite(values).all(axis=0)
        return typed(np.where(held, values, 0), np.dtype(self.source.spec.dtype)), held

    def _needs(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """Yield the parts of a block that need no more of the file than is read at once, each with what it needs."""
        reach = REACH + int(np.ceil(max(abs(self.at.rows.factor), abs(self.at.columns.factor))))
        needed = self._crossing.needed(window, reach)
        if needed.is_empty:
            return
        if needed.area <= READ_AT_MOST or window.height == 1:
            yield window, needed
            return
        half = window.height // 2
        for row in (window.row, window.row + half):
            for column in (window.column, window.column + half):
                yield from self._needs(Window(row, column, half, half))

    def _of_member(self, window: Window) -> NDArray[np.float64]:
        """Return bands x rows x columns of the file as float64, of which NaN is missing."""
        values = self.source.read(window)
        valid = self.source.valid(window, values)
        return np.where(True if valid is None else valid, values, np.nan)

    def _warped(self, band: NDArray[np.float64], needed: Window, piece: Window) -> NDArray[np.float64]:
        """Return what GDAL makes of a window of the file for a piece of the grid; NaN is missing."""
        crossing = self._crossing
        how = {
            "driver": "GTiff",
            "height": needed.height,
            "width": needed.width,
            "count": 1,
            "dtype": "float64",
        }
        placed = {"transform": crossing.member.of_window(needed).affine, "crs": crossing.member.crs_wkt}
        with MemoryFile() as memory:
            with memory.open(**how, **placed, nodata=np.nan) as written:
                written.write(band, 1)
            with (
                memory.open() as file,
                WarpedVRT(
                    file,
                    crs=crossing.grid.crs_wkt,
                    transform=crossing.grid.of_window(piece).affine,
                    height=piece.height,
                    width=piece.width,
                    src_nodata=np.nan,
                    nodata=np.nan,
                    resampling=Resampling[self.resampling],
                    tolerance=EXACT,
                    # else GDAL would guess the scale from the piece
                    XSCALE=1 / abs(self.at.columns.factor),
                    YSCALE=1 / abs(self.at.rows.factor),
                ) as view,
            ):
                return np.asarray(view.read(1))
