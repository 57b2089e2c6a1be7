"""Whole components seen from one vector tile: their full size, and their neighbours across seams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.components import label_components
from segment_tiles.pipeline.vectors.geometry.pieces import (
    SeamPieces,
    attributes_in_tile,
    reaches_seam,
    seam_pieces,
)
from segment_tiles.pipeline.vectors.geometry.seams import join_across_seams
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling

OUTSIDE = -1
"""Component of pixels that have none: nodata where it is not labelled, and beyond the raster."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a tile must be told to know its components whole."""

    numbers: NDArray[np.int64]
    """Number of each component that it meets, ascending."""
    attributes: Attributes
    """Attributes of these, over the whole raster."""
    own: NDArray[np.int64]
    """Number of the component of each seam piece of the tile."""
    sides: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    """Number of the component of each pixel beyond the top, bottom, left and right side, or OUTSIDE."""


@dataclass(frozen=True, slots=True)
class WholeComponents:
    """The components of one tile and of the pixels around it, known whole.

    ::

          . 5 5 5 .        index, one pixel around the tile included; -1 is no component
          2|0 0 5|5
          2|2 1 5|-        corners are never looked at
          . 2 - - .
    """

    index: NDArray[np.int64]
    """(Rows + 2) x (columns + 2): which component each pixel belongs to, or OUTSIDE."""
    attributes: Attributes
    """One row for each component; pixels and first pixels of the whole component."""
    numbers: NDArray[np.int64]
    """Number among the components at seams, or -1 for those that lie inside the tile."""

    @property
    def inner(self) -> NDArray[np.int64]:
        """The index without the pixels around the tile."""
        return self.index[1:-1, 1:-1]


def tile_seams(
    raster: ClassRaster, window: Window, selection: ClassSelection, connectivity: int
) -> SeamPieces:
    """Return what the components of one tile look like at its sides; no geometry is made."""
    codes = raster.read(window)
    components = label_components(codes, selection, connectivity)
    attributes = attributes_in_tile(components, codes, raster.spec, window)
    on_seam = reaches_seam(components, raster.spec, window)
    return seam_pieces(components.labels, codes, attributes, on_seam, raster.spec)


def all_surroundings(
    tiling: VectorTiling, tiles: Sequence[SeamPieces], connectivity: int
) -> tuple[Attributes, list[Surroundings]]:
    """Return the whole components at seams, and what each tile has to be told of them."""
    joined = join_across_seams(tiling, tiles, connectivity)
    starts = np.concatenate([[0], np.cumsum([len(tile.labels) for tile in tiles])])
    own = [joined.piece_features[starts[n] : starts[n + 1]] for n in range(len(tiles))]
    surroundings = []
    for number in range(tiling.count):
        sides = (
            _beyond(tiling, tiles, own, number, -1, 0, "bottom"),
            _beyond(tiling, tiles, own, number, 1, 0, "top"),
            _beyond(tiling, tiles, own, number, 0, -1, "right"),
            _beyond(tiling, tiles, own, number, 0, 1, "left"),
        )
        met = np.unique(np.concatenate([own[number], *sides]))
        met = met[met >= 0]
        surroundings.append(Surroundings(met, joined.attributes.take(met), own[number], sides))
    return joined.attributes, surroundings


def _beyond(
    tiling: VectorTiling,
    tiles: Sequence[SeamPieces],
    own: Sequence[NDArray[np.int64]],
    number: int,
    down: int,
    right: int,
    side: str,
) -> NDArray[np.int64]:
    """Return the components of the facing side of a neighbouring tile."""
    row, column = divmod(number, tiling.columns)
    if not (0 <= row + down < tiling.rows and 0 <= column + right < tiling.columns):
        return np.empty(0, dtype=np.int64)
    neighbour = (row + down) * tiling.columns + column + right
    labels = getattr(tiles[neighbour], side)
    result = np.full(len(labels), OUTSIDE, dtype=np.int64)
    found_at = np.searchsorted(tiles[neighbour].labels, labels[labels > 0])
    result[labels > 0] = own[neighbour][found_at]
    return result


def whole_components(
    raster: ClassRaster,
    window: Window,
    selection: ClassSelection,
    connectivity: int,
    surroundings: Surroundings,
) -> WholeComponents:
    """Label one tile again, now with the full size and the neighbours of every component."""
    codes = raster.read(window)
    local = label_components(codes, selection, connectivity)
    inside = attributes_in_tile(local, codes, raster.spec, window)
    at_seams = reaches_seam(local, raster.spec, window)
    # components at seams stand first, known whole; those inside the tile follow
    known = len(surroundings.numbers)
    index_of_label = np.full(len(inside) + 1, OUTSIDE, dtype=np.int64)
    index_of_label[1:][at_seams] = np.searchsorted(surroundings.numbers, surroundings.own)
    index_of_label[1:][~at_seams] = known + np.arange(len(inside) - len(surroundings.own))
    attributes = Attributes.concatenate([surroundings.attributes, inside.take(~at_seams)])
    numbers = np.full(len(attributes), -1, dtype=np.int64)
    numbers[:known] = surroundings.numbers
    index = np.full((window.height + 2, window.width + 2), OUTSIDE, dtype=np.int64)
    index[1:-1, 1:-1] = index_of_label[local.labels]
    frame = (index[0, 1:-1], index[-1, 1:-1], index[1:-1, 0], index[1:-1, -1])
    for target, side in zip(frame, surroundings.sides, strict=True):
        if len(side):
            target[:] = np.where(side < 0, OUTSIDE, np.searchsorted(surroundings.numbers, side))
    return WholeComponents(index, attributes, numbers)


def adjacent_pairs(components: WholeComponents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of different components that share a pixel edge, both ways, without repetition."""
    index = components.index
    count = max(len(components.attributes), 1)
    keys = []
    for one, other in (
        (index[:-1, 1:-1], index[1:, 1:-1]),
        (index[1:-1, :-1], index[1:-1, 1:]),
    ):
        differ = (one != other) & (one >= 0) & (other >= 0)
        keys.append(np.unique(one[differ] * count + other[differ]))
    one, other = np.divmod(np.unique(np.concatenate(keys)), np.int64(count))
    return np.concatenate([one, other]), np.concatenate([other, one])
