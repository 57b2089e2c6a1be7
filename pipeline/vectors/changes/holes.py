"""Holes that are too small take the class of the feature around them.

A hole is a group of pixels, edge to edge, of any classes or nodata, whose components are each smaller
than the limit, and all of whose neighbours are one component that is not. Where that component is
a feature and the group as a whole is smaller than the limit, it is filled::

    a a a a      a a a a
    a b c a  ->  a a a a     b and c together are a hole of a
    a a a a      a a a a
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.changes.surroundings import WholeComponents
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.components import Components, label_components
from segment_tiles.pipeline.vectors.geometry.pieces import (
    SeamPieces,
    attributes_in_tile,
    reaches_seam,
    seam_pieces,
)
from segment_tiles.pipeline.vectors.geometry.seams import join_across_seams
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling

_SMALL = ClassSelection(wanted=(1,), unwanted=())
_NO_NEIGHBOUR = np.iinfo(np.int64).max
NOT_FILLED = np.iinfo(np.int64).min
"""Instead of a class, for groups that are no hole."""


@dataclass(frozen=True, slots=True)
class Rims:
    """The large components around each group of small ones, in short: the first, the last, a class."""

    first: NDArray[np.int64]
    """Smallest first pixel of the components around the group."""
    last: NDArray[np.int64]
    """Largest first pixel of the components around the group: equal if there is but one."""
    codes: NDArray[np.int64]
    """Class of one of them."""

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Rims:
        """Return the rows of an index or a mask."""
        return Rims(self.first[index], self.last[index], self.codes[index])


@dataclass(frozen=True, slots=True)
class TileHoles:
    """The groups of small components of one tile."""

    groups: Components
    """Connected groups; their codes mean nothing."""
    attributes: Attributes
    """Pixels, first pixel, and whether the group touches the edge of the raster."""
    rims: Rims
    """What lies around each group."""
    on_seam: NDArray[np.bool_]
    """True for groups that may go on in another tile."""
    seams: SeamPieces
    """The groups at seams."""


def tile_holes(components: WholeComponents, spec: ClassRasterSpec, window: Window, limit: int) -> TileHoles:
    """Find the groups of components smaller than the limit in one tile."""
    is_small = np.append(components.attributes.pixels < limit, False)[components.inner].astype(np.uint8)
    groups = label_components(is_small, _SMALL, 4)
    attributes = attributes_in_tile(groups, is_small, spec, window)
    on_seam = reaches_seam(groups, spec, window)
    rims = _rims(groups.labels, components, limit, len(attributes))
    plain = ClassRasterSpec(spec.height, spec.width, "uint8", None, spec.georef)
    seams = seam_pieces(groups.labels, is_small, attributes, on_seam, plain)
    return TileHoles(groups, attributes, rims, on_seam, seams)


def resolve_holes(
    tiling: VectorTiling,
    seams: Sequence[SeamPieces],
    rims: Sequence[Rims],
    limit: int,
    selection: ClassSelection,
) -> list[NDArray[np.int64]]:
    """Return, for the groups at the seams of each tile, the class that fills them, or NOT_FILLED."""
    joined = join_across_seams(tiling, seams, 4)
    count = len(joined.attributes)
    first = np.full(count, _NO_NEIGHBOUR)
    last = np.full(count, -1, dtype=np.int64)
    codes = np.zeros(count, dtype=np.int64)
    groups = joined.piece_features
    has_rim = np.concatenate([r.last for r in rims]) >= 0
    np.minimum.at(first, groups, np.concatenate([r.first for r in rims]))
    np.maximum.at(last, groups, np.concatenate([r.last for r in rims]))
    codes[groups[has_rim]] = np.concatenate([r.codes for r in rims])[has_rim]
    filling = _filling(joined.attributes, Rims(first, last, codes), limit, selection)[groups]
    ends = np.cumsum([len(tile.labels) for tile in seams])
    return np.split(filling, ends[:-1])


def fill_holes(
    codes: NDArray[np.integer],
    holes: TileHoles,
    at_seams: NDArray[np.int64],
    limit: int,
    selection: ClassSelection,
) -> NDArray[np.integer]:
    """Return the codes of a tile with its holes filled; ``at_seams`` is from ``resolve_holes``."""
    filling = _filling(holes.attributes, holes.rims, limit, selection)
    filling[holes.on_seam] = at_seams
    new = np.append(NOT_FILLED, filling)[holes.groups.labels]
    return np.where(new == NOT_FILLED, codes, new).astype(codes.dtype)


def _filling(attributes: Attributes, rims: Rims, limit: int, selection: ClassSelection) -> NDArray[np.int64]:
    """Return the class that fills each group, or NOT_FILLED."""
    is_hole = (attributes.pixels < limit) & ~attributes.touches_edge & (rims.first == rims.last)
    is_hole &= selection.selects(rims.codes)
    return np.where(is_hole, rims.codes, NOT_FILLED)


def _rims(groups: NDArray[np.int32], components: WholeComponents, limit: int, count: int) -> Rims:
    """Find the large components that share a pixel edge with each group."""
    index, attributes = components.index, components.attributes
    first = np.full(count + 1, _NO_NEIGHBOUR)
    last = np.full(count + 1, -1, dtype=np.int64)
    codes = np.zeros(count + 1, dtype=np.int64)
    for beside in (index[:-2, 1:-1], index[2:, 1:-1], index[1:-1, :-2], index[1:-1, 2:]):
        contact = (groups > 0) & (beside >= 0)
        group, neighbour = groups[contact], beside[contact]
        large = attributes.pixels[neighbour] >= limit
        group, neighbour = group[large], neighbour[large]
        np.minimum.at(first, group, attributes.first_pixels[neighbour])
        np.maximum.at(last, group, attributes.first_pixels[neighbour])
        codes[group] = attributes.codes[neighbour]
    return Rims(first[1:], last[1:], codes[1:])
