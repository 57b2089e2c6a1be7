"""Vector tiles: the squares in which a class raster is polygonised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window


@dataclass(frozen=True, slots=True, order=True)
class VectorTile:
    """One square of the class raster; at the right and bottom edge it is cut off.

    ::

        +-----+-----+--+
        | 0,0 | 0,1 |  |   lines between tiles are seams
        +-----+-----+--+
        | 1,0 | 1,1 |  |
        +-----+-----+--+
    """

    row: int
    """Index of the row of tiles."""
    column: int
    """Index of the column of tiles."""
    window: Window
    """The pixels of this tile."""

    @property
    def name(self) -> str:
        """Name for files of this tile."""
        return f"{self.row}_{self.column}"


@dataclass(frozen=True, slots=True)
class VectorTiling:
    """All vector tiles of a raster."""

    height: int
    """Rows of the raster."""
    width: int
    """Columns of the raster."""
    side: int
    """Side of a tile in pixels."""

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return -(-self.width // self.side)

    def tile(self, row: int, column: int) -> VectorTile:
        """Return the tile at an index."""
        top, left = row * self.side, column * self.side
        window = Window.from_edges(
            top, left, min(top + self.side, self.height), min(left + self.side, self.width)
        )
        return VectorTile(row, column, window)

    def __iter__(self) -> Iterator[VectorTile]:
        """Yield the tiles row by row."""
        return (self.tile(row, column) for row in range(self.rows) for column in range(self.columns))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    def numbered(self, number: int) -> VectorTile:
        """Return the tile with this number; tiles are numbered row by row."""
        return self.tile(*divmod(number, self.columns))

    def numbers_of_pixels(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the tile that holds each pixel, given by its flat, row-major index."""
        rows, columns = np.divmod(pixels, self.width)
        numbers: NDArray[np.int64] = rows // self.side * self.columns + columns // self.side
        return numbers
