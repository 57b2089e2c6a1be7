"""The Lattice: the fixed grid of Tiles over a raster (docs/architecture.md#the-engine).

The grid is anchored at pixel (0, 0) and depends on the size of the raster, the tile side and the
overlap alone; no ROI, worker, chunk or resume ever moves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.window import Window


@dataclass(frozen=True, slots=True)
class LatticeAxis:
    """The lattice along one side of a raster: ``count`` intervals of ``tile`` pixels, ``stride`` apart.

    ::

        0        S        2S       3S
        |--------T0-------|
                 |--------T1-------|
                          |--------T2--:----|   the last overhangs the edge (:) of the raster
        owned:   |---- 0 ----|-- 1 --|--- 2 --|   cut in the middle of each overlap

    >>> axis = LatticeAxis(size=100, tile=40, overlap=10)
    >>> axis.count, [axis.owned(i) for i in range(axis.count)]
    (3, [(0, 35), (35, 65), (65, 100)])

    A network that gives no scores for the outer ``margin`` pixels of its input is fed tiles that start outside
    the raster. What it gives scores for is anchored at pixel 0 as before::

        -m   0           S                        reads      [iS - m, iS - m + T)
        |:---[====T0=====]----|                   scores     [iS, iS + T - 2m)
                     |----[====T1=====]----|      here neighbours share 2m read pixels and no scores

    >>> axis = LatticeAxis(size=100, tile=60, overlap=20, margin=10)
    >>> [(axis.start(i), axis.first(i), axis.owned(i)) for i in range(axis.count)]
    [(-10, 0, (0, 40)), (30, 40, (40, 80)), (70, 80, (80, 100))]
    """

    size: int
    """Pixels along this side of the raster."""
    tile: int
    """Pixels along the side of a tile."""
    overlap: int
    """Pixels that neighbouring tiles share; even."""
    margin: int = 0
    """Pixels on each side of a tile without scores; twice of it are in the overlap."""

    @property
    def scored(self) -> int:
        """Pixels along the side of a tile that get scores."""
        return self.tile - 2 * self.margin

    @property
    def shared(self) -> int:
        """Pixels that get scores from a tile and from the next one."""
        return self.overlap - 2 * self.margin

    @property
    def stride(self) -> int:
        """Pixels from one tile to the next."""
        return self.tile - self.overlap

    @property
    def halo(self) -> int:
        """Half the overlap."""
        return self.overlap // 2

    @property
    def count(self) -> int:
        """Number of tiles along this side."""
        return max(1, -(-(self.size - self.shared) // self.stride))

    def first(self, index: int) -> int:
        """First pixel that gets scores from the tile."""
        return index * self.stride

    def start(self, index: int) -> int:
        """First pixel that the tile reads; below 0 before the edge of the raster."""
        return index * self.stride - self.margin

    def stop(self, index: int) -> int:
        """Pixel after the last that the tile reads inside the raster."""
        return min(self.start(index) + self.tile, self.size)

    def owned(self, index: int) -> tuple[int, int]:
        """Half-open interval that the tile alone owns; these partition [0, size)."""
        first = 0 if index == 0 else self.first(index) + self.shared // 2
        last = self.size if index == self.count - 1 else self.first(index + 1) + self.shared // 2
        return first, last

    def final_stop(self, index: int) -> int:
        """Pixel before which nothing changes once this tile is done: where the scores of the next one start."""
        return self.size if index == self.count - 1 else self.first(index + 1)

    def covering(self, start: int, stop: int) -> range:
        """Return the indices of all tiles that give scores for any pixel of [start, stop)."""
        if stop <= start:
            return range(0)
        first = max(0, (start - self.scored) // self.stride + 1)
        last = min(self.count - 1, (stop - 1) // self.stride)
        return range(first, last + 1)


@dataclass(frozen=True, slots=True)
class Tile:
    """One model input: its index, its read window, and its write window."""

    row_index: int
    """Index of the row of tiles, i."""
    column_index: int
    """Index within the row, j."""
    read: Window
    """What the network sees: tile x tile pixels; may overhang the raster, reflected there."""
    scores: Window
    """What it gives scores for: `read` without the margin."""
    write: Window
    """What this tile alone owns under ``crop``."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The fixed grid of Tiles over a raster of ``height`` x ``width`` pixels.

    Raises
    ------
    UsageError
        If the tile side is below 1, or the overlap is odd, negative, not below the tile side, or does not cover the
        margins of two tiles.
    """

    height: int
    """Rows of the raster."""
    width: int
    """Columns of the raster."""
    tile: int
    """Side of a tile, in pixels."""
    overlap: int
    """Pixels that neighbouring tiles share, even."""
    margin: int = 0
    """Pixels on each side of a tile for which the network gives no scores."""

    def __post_init__(self) -> None:
        if self.tile < 1:
            msg = f"tile side is {self.tile}; it must be 1 pixel or more"
            raise UsageError(msg)
        if not 0 <= self.overlap < self.tile or self.overlap % 2:
            msg = f"overlap is {self.overlap} px; it must be even, 0 or more, and below the tile side {self.tile}"
            raise UsageError(msg)
        if not 0 <= 2 * self.margin <= self.overlap:
            msg = (
                f"overlap is {self.overlap} px; it must be {2 * self.margin} px or more: the network gives no scores "
                f"for the outer {self.margin} px of a tile"
            )
            raise UsageError(msg)

    @property
    def rows(self) -> LatticeAxis:
        """The lattice from top to bottom."""
        return LatticeAxis(self.height, self.tile, self.overlap, self.margin)

    @property
    def columns(self) -> LatticeAxis:
        """The lattice from left to right."""
        return LatticeAxis(self.width, self.tile, self.overlap, self.margin)

    @property
    def halo(self) -> int:
        """Half the overlap, in pixels."""
        return self.overlap // 2

    @property
    def scored(self) -> int:
        """Side of what a tile gives scores for, in pixels."""
        return self.tile - 2 * self.margin

    @property
    def shared(self) -> int:
        """Pixels that get scores from two neighbouring tiles: the overlap without their margins."""
        return self.overlap - 2 * self.margin

    def coarser(self, factor: int) -> Lattice:
        """Return the same tiles in pixels of a network whose output is coarser: what they get scores for, alone.

        The last pixel of a side may reach beyond the raster. Scores, and what neighbours share of them, must be whole
        pixels of it.

        >>> Lattice(101, 64, tile=40, overlap=24, margin=4).coarser(4)
        Lattice(height=26, width=16, tile=8, overlap=4, margin=0)
        """
        if factor == 1:
            return self
        return Lattice(
            -(-self.height // factor), -(-self.width // factor), self.scored // factor, self.shared // factor
        )

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows.count * self.columns.count

    def tile_at(self, row_index: int, column_index: int) -> Tile:
        """Return the tile with this index."""
        rows, columns = self.rows, self.columns
        (top, bottom), (left, right) = rows.owned(row_index), columns.owned(column_index)
        read = Window(rows.start(row_index), columns.start(column_index), self.tile, self.tile)
        return Tile(
            row_index,
            column_index,
            read,
            Window(read.row + self.margin, read.column + self.margin, self.scored, self.scored),
            Window.from_edges(top, left, bottom, right),
        )

    def tiles(self, window: Window) -> Iterator[Tile]:
        """Yield, row by row, every tile with scores for a pixel of ``window``: all that it takes to compute it."""
        column_indices = self.columns.covering(window.column, window.column_stop)
        for row_index in self.rows.covering(window.row, window.row_stop):
            for column_index in column_indices:
                yield self.tile_at(row_index, column_index)

    def tile_count(self, window: Window) -> int:
        """Return the number of tiles that ``tiles(window)`` yields, without listing them."""
        rows = self.rows.covering(window.row, window.row_stop)
        return len(rows) * len(self.columns.covering(window.column, window.column_stop))


def overlap_pixels(tile: int, fraction: float, alignment: int = 1, margin: int = 0) -> int:
    """Return the even overlap in pixels nearest to a fraction of the tile side, and not below twice the margin.

    If the tile side is a multiple of ``alignment`` (the output stride of the network), the overlap
    becomes one too, so that every tile starts on the network's own sampling grid and a shifted tile
    sees the same feature positions.

    Raises
    ------
    UsageError
        If the fraction is not in [0, 1), or leaves out pixels of the margins of two tiles.

    >>> overlap_pixels(512, 0.25, 16), overlap_pixels(33, 0.5), overlap_pixels(256, 0.36, 16, margin=46)
    (128, 16, 96)
    """
    if not 0 <= fraction < 1:
        msg = f"--overlap is {fraction:g}; it must be a fraction of the tile, 0 or more and below 1"
        raise UsageError(msg)
    step = max(2, alignment if alignment % 2 == 0 else 2 * alignment)
    if tile % alignment or step >= tile:
        step = 2
    if round(tile * fraction) < 2 * margin:
        msg = (
            f"--overlap {fraction:g} shares {round(tile * fraction)} px of tiles of {tile} px, but this model gives no "
            f"scores for their outer {margin} px on each side; {2 * margin / tile:.4g} or more is needed"
        )
        raise UsageError(msg)
    largest = (tile - 1) // step * step
    if -(-2 * margin // step) * step > largest:
        step, largest = 2, (tile - 1) // 2 * 2
    nearest = max(round(tile * fraction / step), -(-2 * margin // step)) * step
    return min(nearest, largest)
