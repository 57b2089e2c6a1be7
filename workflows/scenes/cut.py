"""Cut: planes of one Scene that share spec, Lattice and ROI, and how a worker opens them.

::

    raster, slide            volume                     volume, three directions
    one Cut of one plane     one Cut of many planes     three Cuts: axial, coronal, sagittal

The engine knows Cuts and planes alone; what lies behind them is the business of their Kind.

The result lies on the grid of what is read, unless a ResultGrid says that it lies on the source's own, of which what is
read is a resampled view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.grid_map import GridMap
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.thumbnail import ThumbnailGrid

if TYPE_CHECKING:
    from segment_tiles.pipeline.outputs.stores.sent_folder import Send

PLANES_AT_ONCE: Final = 32
"""Planes of one task, at most; a batch that is not full at its end is filled up, so few tiles are wasted."""
NOT_FINITE_MARK: Final = 1
"""Confidence, in scores that are to be composed and that nobody sees, of pixels whose scores are NaN."""


class OpenPlanes(Protocol):
    """The planes of a Cut, open in one process."""

    def sources(self, numbers: Sequence[int]) -> Iterator[Source]:
        """Yield planes of the result as Sources, in the order of their numbers, each opened when its turn comes.

        Raises
        ------
        ReadFailedError
            If one cannot be read.
        """
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


class Opener(Protocol):
    """Opens the planes of a Cut; plain data, travels to workers."""

    def open(self) -> OpenPlanes:
        """Open them.

        Raises
        ------
        SourceError
            If they cannot be opened.
        """
        ...

    def look(self) -> None:
        """Refuse a source that this process cannot see.

        Raises
        ------
        SourceError
            If it is not there.
        """
        ...


@runtime_checkable
class FolderOpener(Opener, Protocol):
    """An Opener of a Kind that prepares files: it reads the folder of the run, and not the source."""

    def sent(self, send: Send) -> Opener:
        """Return what opens the planes where that folder is not seen: its files are sent."""
        ...

    def with_plane(self, number: int) -> Opener:
        """Return what gives one plane, read now, where the source is not seen.

        Raises
        ------
        SourceError, ReadFailedError
            If it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class ResultGrid:
    """The source's own grid, if the result lies there and not on that of what is read."""

    spec: RasterSpec
    """Of the source on that grid."""
    map: GridMap
    """From there to what is read."""
    opener: Opener
    """Opens the source there: it knows which of its pixels hold data."""

    @property
    def mask_opener(self) -> Opener | None:
        """What opens the source to ask which pixels hold data; None if all do."""
        return None if self.spec.has_no_holes else self.opener


@dataclass(frozen=True, slots=True)
class Cut:
    """Planes that are segmented alike."""

    name: str
    """Of this Cut among those of its Scene, such as axial."""
    spec: RasterSpec
    """Of every plane, as it is read."""
    lattice: Lattice
    """Over a whole plane, as it is read."""
    roi: Window
    """What is asked for of each plane, in pixels of the grid of the result, which has this shape."""
    opener: Opener
    """How a worker opens them."""
    planes: int = 1
    """Planes of the result."""
    held_bytes: int = 0
    """What is held of the source beside the plane that is computed."""
    thumbnail: ThumbnailGrid | None = None
    """What is kept of the plane for its picture as it is read, if there is one plane; None: nothing."""
    result_grid: ResultGrid | None = None
    """The grid of the result, if it is not that of what is read."""
    coarser: int = 1
    """Pixels of what is read along a side of one of the result, of a model whose coarser output is kept as it is."""

    @property
    def area_spec(self) -> RasterSpec:
        """Of a whole plane on the grid on which AOI and tissue are drawn: that of the result, unless it is coarser."""
        return self.spec if self.result_grid is None else self.result_grid.spec

    @property
    def grid_spec(self) -> RasterSpec:
        """Of a whole plane on the grid of the result."""
        return self.area_spec if self.coarser == 1 else coarse_spec(self.spec, self.coarser)

    @property
    def map(self) -> GridMap:
        """From the grid of the result to what is read; of a coarser result the identity of what is read."""
        if self.result_grid is not None:
            return self.result_grid.map
        return GridMap.identity(self.lattice.height, self.lattice.width)

    @property
    def georef(self) -> GeoRef:
        """Of a plane of the result."""
        return self.grid_spec.georef.of_window(self.roi)

    def on_grid(self, region: Window) -> Window:
        """Return a window of the result, whose corner is that of the ROI, in pixels of the whole grid."""
        return region.shift(self.roi.row, self.roi.column)

    def read_for(self, region: Window) -> Window:
        """Return what of a plane, as it is read, a window of the result is computed from, without halo."""
        there, factor = self.on_grid(region), self.coarser
        if factor == 1:
            return self.map.covering(there)
        rows, columns = there.row_stop * factor, there.column_stop * factor
        return Window.from_edges(
            there.row * factor,
            there.column * factor,
            min(rows, self.spec.height),
            min(columns, self.spec.width),
        )

    def tiles_of(self, region: Window) -> int:
        """Return how many tiles a window of the result takes on each plane."""
        return self.lattice.tile_count(self.read_for(region))

    @property
    def tile_count(self) -> int:
        """Tiles of the result, counted as one Region."""
        return self.tiles_of(Window(0, 0, *self.roi.shape)) * self.planes

    def slabs(self) -> list[tuple[int, int]]:
        """Return first and last plane of every task, half-open."""
        return slabs_of(self.planes)


def coarse_spec(spec: RasterSpec, factor: int) -> RasterSpec:
    """Return a raster of so many times larger pixels; the last of a side may reach beyond it."""
    return replace(
        spec,
        height=-(-spec.height // factor),
        width=-(-spec.width // factor),
        georef=spec.georef.scaled(factor, factor),
        reductions=(),  # an overview that is drawn lies on the grid of the source
    )


def slabs_of(count: int) -> list[tuple[int, int]]:
    """Divide planes among tasks: first and last of each, half-open.

    >>> slabs_of(70)
    [(0, 32), (32, 64), (64, 70)]
    """
    return [(first, min(first + PLANES_AT_ONCE, count)) for first in range(0, count, PLANES_AT_ONCE)]
