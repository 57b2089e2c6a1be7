"""The thumbnail of a source, gathered from what is read of it anyway: so that it is decoded once.

::

    source    . . . . . . . . .       a pixel of the thumbnail is the one in the middle of its share
              . x . . x . . x .       of the source (x): the same pixel, whoever reads it
              . . . . . . . . .

    reads of a Region -> pixels of its rows, kept -> a piece for each row of shards -> one picture of all pieces

Of a source that is resampled, while the result lies on its own grid, it is the pixel that was read in which that one
lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.grid_map import GridMap
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.of_bands import missing_of, thumbnail_of_bands
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source, read_into


@dataclass(frozen=True, slots=True)
class ThumbnailGrid:
    """Which pixels and bands of a source make up its thumbnail; plain data, travels to workers."""

    window: Window
    """What is shown, in pixels of the grid of the result: mostly that of the source as it is read."""
    shape: tuple[int, int]
    """Rows and columns of the thumbnail, at most those of the window."""
    bands: tuple[int, ...]
    """Positions of the bands that are shown, among those that are read."""
    map: GridMap | None = None
    """From the grid of the result to that of the source as it is read; None: they are one."""

    @property
    def rows(self) -> NDArray[np.intp]:
        """Return the row of the result's grid of each row, ascending."""
        return _middles(self.window.row, self.window.height, self.shape[0])

    @property
    def columns(self) -> NDArray[np.intp]:
        """Return the column of the result's grid of each column, ascending."""
        return _middles(self.window.column, self.window.width, self.shape[1])

    @property
    def read_rows(self) -> NDArray[np.intp]:
        """Return the row of the source, as it is read, of each row, ascending."""
        return self.rows if self.map is None else self.map.rows.of(self.rows)

    @property
    def read_columns(self) -> NDArray[np.intp]:
        """Return the column of the source, as it is read, of each column, ascending."""
        return self.columns if self.map is None else self.map.columns.of(self.columns)

    def nbytes(self, dtype: str) -> int:
        """Return the bytes that values and mask take in memory."""
        rows, columns = self.shape
        return rows * columns * (len(self.bands) * int(np.dtype(dtype).itemsize) + 1)


def _middles(start: int, length: int, count: int) -> NDArray[np.intp]:
    """Return the positions in the middle of ``count`` equal parts.

    >>> _middles(10, 9, 3).tolist(), _middles(0, 5, 5).tolist()
    ([11, 14, 17], [0, 1, 2, 3, 4])
    """
    return start + (2 * np.arange(count) + 1) * length // (2 * count)


class Thumbnail:
    """Pixels of a thumbnail, as far as they have been seen.

    Parameters
    ----------
    grid
        Which pixels.
    part
        What of the window of the grid is gathered here, in pixels of the result's grid.
    dtype
        Of the source.
    """

    def __init__(self, grid: ThumbnailGrid, part: Window, dtype: str) -> None:
        self._rows, self._columns, self._bands = grid.rows, grid.columns, np.array(grid.bands)
        self._read_rows, self._read_columns = grid.read_rows, grid.read_columns
        self._corner = grid.window.row, grid.window.column
        self._box = self._covered(part)
        shape = tuple(side.stop - side.start for side in self._box)
        self.values = np.zeros((len(self._bands), *shape), dtype=dtype)
        """Bands x rows x columns of the part."""
        self.valid = np.zeros(shape, dtype=bool)
        """Rows x columns: pixels that are shown."""

    def put(self, window: Window, values: NDArray[Any]) -> None:
        """Keep what the thumbnail has of a window of the source, as it is read, all bands."""
        rows, columns = _within(self._read_rows, self._read_columns, window)
        rows, columns = _shared(rows, self._box[0]), _shared(columns, self._box[1])
        if rows.start < rows.stop and columns.start < columns.stop:
            picked = np.ix_(
                self._bands, self._read_rows[rows] - window.row, self._read_columns[columns] - window.column
            )
            self.values[(slice(None), *self._here(rows, columns))] = values[picked]

    def content(self, window: Window, codes: NDArray[Any], nodata: int) -> bytes:
        """Return the piece of a window whose classes are known, as a file holds it.

        A pixel without a class is not shown: of what no tile needs nothing may have been read.

        Parameters
        ----------
        window
            In pixels of the result, inside the part.
        codes
            Its class codes, rows x columns.
        nodata
            Code of pixels without class.
        """
        values, valid = self._piece(window, codes, nodata)
        return values.tobytes() + valid.tobytes()

    def show(self, window: Window, codes: NDArray[Any], nodata: int) -> None:
        """Show the pixels of a window that was read and has a class; arguments as of `content`."""
        values, valid = self._piece(window, codes, nodata)
        self._set(window, values, valid)

    def take(self, window: Window, content: bytes) -> bool:
        """Show what `content` returned of a window; return False if it is not of this thumbnail."""
        box = self._here(*self._covered(self._on_grid(window)))
        values, valid = self.values[(slice(None), *box)], self.valid[box]
        if len(content) != values.nbytes + valid.nbytes:
            return False
        self._set(
            window,
            np.frombuffer(content, values.dtype, values.size).reshape(values.shape),
            np.frombuffer(content, bool, valid.size, values.nbytes).reshape(valid.shape),
        )
        return True

    def _set(self, window: Window, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        box = self._here(*self._covered(self._on_grid(window)))
        self.values[(slice(None), *box)], self.valid[box] = values, valid

    def _piece(
        self, window: Window, codes: NDArray[Any], nodata: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        there = self._on_grid(window)
        rows, columns = self._covered(there)
        valid = codes[np.ix_(self._rows[rows] - there.row, self._columns[columns] - there.column)] != nodata
        # what was read of pixels that are not shown may depend on how the run was divided
        seen = self.values[(slice(None), *self._here(rows, columns))]
        return np.where(valid, seen, seen.dtype.type(0)), valid

    def _on_grid(self, window: Window) -> Window:
        return window.shift(*self._corner)

    def _covered(self, window: Window) -> tuple[slice, slice]:
        """Return the rows and columns of the whole thumbnail whose pixels lie in a window of the result's grid."""
        return _within(self._rows, self._columns, window)

    def _here(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return rows and columns of the whole thumbnail as those of the part."""
        top, left = self._box[0].start, self._box[1].start
        return slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)


def _within(rows: NDArray[np.intp], columns: NDArray[np.intp], window: Window) -> tuple[slice, slice]:
    """Return the rows and columns whose positions, ascending, lie in a window."""
    down = np.searchsorted(rows, [window.row, window.row_stop])
    across = np.searchsorted(columns, [window.column, window.column_stop])
    return slice(int(down[0]), int(down[1])), slice(int(across[0]), int(across[1]))


def _shared(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


class WatchedSource:
    """A Source that keeps the pixels of a thumbnail as they are read."""

    def __init__(self, source: Source, thumbnail: Thumbnail) -> None:
        self._source, self._thumbnail = source, thumbnail
        self.spec: RasterSpec = source.spec

    def read(self, window: Window) -> NDArray[Any]:
        """Return the values of a window: bands x rows x columns, native type."""
        values = self._source.read(window)
        self._thumbnail.put(window, values)
        return values

    def read_into(self, window: Window, out: NDArray[Any]) -> None:
        """Put the values of a window into ``out``."""
        read_into(self._source, window, out)
        self._thumbnail.put(window, out)

    def valid(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which pixels hold data."""
        return self._source.valid(window, values)

    def missing(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which values of single bands are missing."""
        return missing_of(self._source, window, values)

    def is_surely_empty(self, window: Window) -> bool:
        """Return whether the source says, without decoding, that a window holds no data."""
        return isinstance(self._source, KnowsHoles) and self._source.is_surely_empty(window)

    def thumbnail(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window decimated to ``shape``."""
        return self._source.thumbnail(window, shape)

    def thumbnail_of_bands(
        self, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
        """Return what ``thumbnail`` does, and which values are missing."""
        return thumbnail_of_bands(self._source, window, shape)

    def close(self) -> None:
        """Release the handle."""
        self._source.close()


def watched(sources: Iterator[Source], thumbnail: Thumbnail | None) -> Iterator[Source]:
    """Yield Sources that keep the pixels of a thumbnail; as they are if there is none."""
    return sources if thumbnail is None else (WatchedSource(source, thumbnail) for source in sources)
