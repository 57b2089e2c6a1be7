"""What another model's map leaves of a raster, asked window by window as an AOI is.

::

    map of the mask   |  shard   |  shard   |      decoded when first asked, kept as bits while its rows are near
    cells of a shard  |_|#|#|_|_|_|_|_|_|_|_|      does any pixel of 64 x 64 stay? enough to skip a tile
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.overviews import shard_windows
from segment_tiles.pipeline.outputs.stores.seals import ZARR_METADATA
from segment_tiles.pipeline.outputs.stores.sent_folder import Send, SentFolder, files_of
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_class_table, shard_shape

CELL: Final = 64
"""Side of the squares of which is known whether any pixel stays."""
ROWS_KEPT: Final = 8
"""Rows of shards of which bits are kept, at least: what is computed and what is written lie a few rows apart."""
CELLS_KEPT: Final = 4096
"""Shards of which cells are kept: they are a few hundred bytes each."""
CELLS_BYTES: Final = 1024
"""Of the cells of a shard, at most, with what keeps them."""


def _rows_kept(asked: int) -> int:
    """Return of how many rows of shards bits are kept, if so many are asked for at once."""
    return max(ROWS_KEPT, asked + 2)


@dataclass(frozen=True, slots=True)
class MaskedClasses:
    """The finished map of a mask, and which of its classes limit another map; plain data that travels to workers."""

    store: Path | SentFolder
    """Its Zarr store: absolute; or where workers that do not see that find it."""
    codes: tuple[int, ...]
    """Of the classes."""
    keeps: bool
    """Whether pixels of these classes stay; else all others do, those without a class too."""
    roi: Window
    """What of the whole grid the map covers; outside of it nothing is asked for, and nothing stays."""
    may_overlap: bool = False
    """Whether the classes may overlap: what counts is the mask that the store has of each, not the highest class."""

    def open(self) -> MaskArea:
        """Open it.

        Raises
        ------
        OutputError
            If it is not there, or a part of it was lost.
        """
        return MaskArea(self, array_of(self._group(), self._array))

    def sent(self, send: Send) -> MaskedClasses:
        """Return it for workers that do not see the store: what is read of it is sent."""
        store, wanted = self.store, (ZARR_METADATA, f"{self._array}/")
        assert isinstance(store, Path)
        files = partial(files_of, store, lambda name: name.startswith(wanted))
        return replace(self, store=send("mask", store, files))

    @property
    def _array(self) -> str:
        return "masks" if self.may_overlap else "classes"

    def _group(self) -> zarr.Group:
        if isinstance(self.store, Path):
            return open_store(self.store)
        return zarr.open_group(self.store.zarr_store(), mode="r", zarr_format=3)  # every file is checked

    def pixels(self) -> tuple[int, int]:
        """Return how many pixels with a class are left out, and how many stay; all of the map is read.

        Raises
        ------
        OutputError
            As `open`.
        """
        area, group = self.open(), self._group()
        classes, nodata = array_of(group, "classes"), read_class_table(group).nodata
        counts = np.zeros(2, np.int64)
        for window in shard_windows(*self.roi.shape):
            stays = area.mask(window.shift(self.roi.row, self.roi.column))
            counts += np.bincount(stays[np.asarray(classes[window.slices()]) != nodata], minlength=2)
        return int(counts[0]), int(counts[1])


@dataclass(frozen=True, slots=True)
class _Shard:
    bits: NDArray[np.uint8]
    """Which pixels stay: rows x columns / 8."""
    cells: NDArray[np.bool_]
    """Whether any of a cell does."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a window has of a shard."""

    row: int
    """Of the shard."""
    column: int
    """Of it."""
    whole: Window
    """The shard in pixels of the map."""
    inside: Window
    """The part in pixels of the shard."""
    there: Window
    """The part in pixels of the window."""


class MaskArea:
    """The pixels that stay, in coordinates of the whole grid.

    Parameters
    ----------
    mask
        Which classes.
    stored
        Codes, rows x columns of the ROI; of classes that may overlap a mask of each before these.
    """

    def __init__(self, mask: MaskedClasses, stored: zarr.Array[Any]) -> None:
        self._mask, self._stored = mask, stored
        self._height, self._width = mask.roi.shape
        self._rows, self._columns = shard_shape(self._width)
        self._kept: OrderedDict[tuple[int, int], _Shard] = OrderedDict()
        self._cells: OrderedDict[tuple[int, int], NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()  # reading ahead and writing both ask
        self._down = self._across = 1

    def meets(self, window: Window) -> bool:
        """Return whether anything of a window may stay."""
        for part in self._parts(window):
            rows, columns = part.inside.slices()
            cells = (
                slice(rows.start // CELL, -(-rows.stop // CELL)),
                slice(columns.start // CELL, -(-columns.stop // CELL)),
            )
            with self._lock:
                known = self._cells.get((part.row, part.column))
                found = self._shard(part).cells if known is None else known
            if found[cells].any():
                return True
        return False

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window stay: rows x columns."""
        found = np.zeros(window.shape, dtype=bool)
        parts = self._parts(window)
        with self._lock:
            # of all that one window meets, and of what lies beside it
            self._down = max(self._down, len({part.row for part in parts}))
            self._across = max(self._across, len({part.column for part in parts}))
        for part in parts:
            with self._lock:
                shard = self._shard(part)
            inside = part.inside
            first, last = inside.column // 8, -(-inside.column_stop // 8)
            bits = np.unpackbits(shard.bits[inside.row : inside.row_stop, first:last], axis=1)
            start = inside.column - 8 * first
            found[part.there.slices()] = bits[:, start : start + inside.width]
        return found

    def _parts(self, window: Window) -> list[_Part]:
        """Return what a window has of every shard that it meets."""
        wanted = window.shift(-self._mask.roi.row, -self._mask.roi.column)
        map_part = wanted.intersect(Window(0, 0, self._height, self._width))
        if map_part.is_empty:
            return []
        rows = range(map_part.row // self._rows, -(-map_part.row_stop // self._rows))
        columns = range(map_part.column // self._columns, -(-map_part.column_stop // self._columns))
        found = []
        for row in rows:
            for column in columns:
                whole = Window(row * self._rows, column * self._columns, self._rows, self._columns)
                part = map_part.intersect(whole)
                found.append(_Part(row, column, whole, part.relative_to(whole), part.relative_to(wanted)))
        return found

    def _shard(self, part: _Part) -> _Shard:
        """Return a shard, decoded once while it is near; the lock is held."""
        at = part.row, part.column
        shard = self._kept.pop(at, None)
        if shard is None:
            shard = self._decoded(part.whole.intersect(Window(0, 0, self._height, self._width)))
            self._cells[at] = shard.cells
            if len(self._cells) > CELLS_KEPT:
                self._cells.popitem(last=False)
        self._kept[at] = shard
        while len(self._kept) > _rows_kept(self._down) * self._across:
            self._kept.popitem(last=False)
        return shard

    def _decoded(self, window: Window) -> _Shard:
        found = self._named(window)
        stays = found if self._mask.keeps else ~found
        rows, columns = (np.arange(0, side, CELL) for side in window.shape)
        cells = np.logical_or.reduceat(np.logical_or.reduceat(stays, rows, axis=0), columns, axis=1)
        return _Shard(np.packbits(stays, axis=1), cells)

    def _named(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels have one of the classes."""
        if not self._mask.may_overlap:
            return np.isin(np.asarray(self._stored[window.slices()]), self._mask.codes)
        found = np.zeros(window.shape, dtype=bool)
        for code in self._mask.codes:
            found |= np.asarray(self._stored[(code, *window.slices())]) == 1
        return found


def mask_bytes(whole: int, asked: tuple[int, int], code_size: int) -> int:
    """Return the bytes of a mask: bits of rows of shards, cells, and a shard in decoding.

    Parameters
    ----------
    whole
        Width of the map in pixels.
    asked
        Rows and columns that are asked for at once, in pixels of the map; a halo of less than a shard beside them.
    code_size
        Bytes of a code.
    """
    rows, columns = shard_shape(whole)
    down = -(-asked[0] // rows) + 1
    across = min(-(-asked[1] // columns) + 2, -(-whole // columns))
    kept = _rows_kept(down) * across * rows * columns // 8
    return kept + CELLS_KEPT * CELLS_BYTES + 3 * rows * columns * (code_size + 1)
