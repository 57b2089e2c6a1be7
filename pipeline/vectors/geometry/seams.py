"""Which pieces belong together across the seams between vector tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.components import union
from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes
from segment_tiles.pipeline.vectors.geometry.objects.seams import (
    contacts_across,
    same_objects,
    with_neighbours,
)
from segment_tiles.pipeline.vectors.geometry.pieces import NODATA, SeamPieces
from segment_tiles.pipeline.vectors.tiling import VectorTiling

Line = NDArray[np.int64]
"""Nodes of the pixels of one row or column along a seam; -1 for no feature, -2 for nodata."""
NO_NODE = -1
NODATA_NODE = -2


@dataclass(frozen=True, slots=True)
class JoinedFeatures:
    """Features that touch a seam: their merged attributes and the pieces that make them up."""

    attributes: Attributes
    """One row for each feature."""
    piece_tiles: NDArray[np.int64]
    """Number of the tile, in row-major order, of each piece."""
    piece_labels: NDArray[np.int32]
    """Label of each piece in its tile."""
    piece_features: NDArray[np.int64]
    """Feature that each piece belongs to."""


def join_across_seams(tiling: VectorTiling, tiles: Sequence[SeamPieces], connectivity: int) -> JoinedFeatures:
    """Join the pieces of all tiles by union-find over the two pixel rows, or columns, at each seam.

    ::

        ... 3 3 3 0 7 7 ...    last row of the tiles above: labels of their pieces
        ----------------------  seam
        ... 1 1 0 0 5 5 ...    first row of the tiles below
                               3-1 and 7-5 are one feature each where their classes are equal

    Parameters
    ----------
    tiling : VectorTiling
        The tiles.
    tiles : sequence of SeamPieces
        What each tile said of its seams, in row-major order.
    connectivity : int
        4, or 8: pixels that share a corner across a seam, or where four tiles meet, belong together.
    """
    sizes = [len(tile.labels) for tile in tiles]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    pieces = Attributes.concatenate([tile.attributes for tile in tiles])
    objects = pieces if isinstance(pieces, ObjectAttributes) else None
    kinds = pieces.codes if objects is None else objects.identities
    lines = _seam_lines(tiling, tiles, offsets)
    pairs = [] if objects is None else [same_objects(objects)]
    for before, after in lines:
        _mark_nodata(pieces, before, after)
        pairs += _contacts(before, after, kinds, connectivity)
    features = union(_concatenated(pairs), len(pieces))
    count = int(features.max()) + 1 if len(features) else 0
    merged = pieces.merge(features, count)
    if objects is not None and isinstance(merged, ObjectAttributes):
        inside = [
            (tile.contact_pieces + offset, tile.contact_identities)
            for tile, offset in zip(tiles, offsets, strict=False)
        ]
        merged = with_neighbours(merged, features, objects, [*inside, *contacts_across(objects, lines)])
    return JoinedFeatures(
        merged,
        np.repeat(np.arange(len(tiles)), sizes),
        np.concatenate([tile.labels for tile in tiles]),
        features,
    )


def _concatenated(pairs: Sequence[tuple[Line, Line]]) -> tuple[Line, Line]:
    empty = np.empty(0, dtype=np.int64)
    first, second = (np.concatenate([empty, *(pair[side] for pair in pairs)]) for side in (0, 1))
    return first, second


def _seam_lines(
    tiling: VectorTiling, tiles: Sequence[SeamPieces], offsets: NDArray[np.int64]
) -> list[tuple[Line, Line]]:
    """Return the nodes on both sides of every seam, over the whole width or height of the raster."""
    columns = tiling.columns

    def line(side: str, numbers: Sequence[int]) -> Line:
        return np.concatenate([_nodes(tiles[n], getattr(tiles[n], side), int(offsets[n])) for n in numbers])

    lines = []
    for row in range(tiling.rows - 1):
        above = [row * columns + column for column in range(columns)]
        lines.append((line("bottom", above), line("top", [n + columns for n in above])))
    for column in range(columns - 1):
        left = [row * columns + column for row in range(tiling.rows)]
        lines.append((line("right", left), line("left", [n + 1 for n in left])))
    return lines


def _nodes(tile: SeamPieces, side: NDArray[np.int32], offset: int) -> Line:
    """Return the nodes of one side of one tile."""
    nodes = np.full(len(side), NO_NODE, dtype=np.int64)
    nodes[side == NODATA] = NODATA_NODE
    # sides on the edge of the raster have labels of whole features too: those are never asked for
    found_at = np.searchsorted(tile.labels, side)
    found_at[found_at == len(tile.labels)] = 0
    if len(tile.labels):
        known = (side > 0) & (tile.labels[found_at] == side)
        nodes[known] = found_at[known] + offset
    return nodes


def _mark_nodata(pieces: Attributes, before: Line, after: Line) -> None:
    """Mark the pieces that have nodata on the other side of the seam."""
    pieces.touches_nodata[before[(before >= 0) & (after == NODATA_NODE)]] = True
    pieces.touches_nodata[after[(after >= 0) & (before == NODATA_NODE)]] = True


def _contacts(
    before: Line, after: Line, codes: NDArray[np.int64], connectivity: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the pairs of nodes of equal class that touch across one seam, without repetition."""
    facing = [(before, after)]
    if connectivity == 8:
        facing += [(before[:-1], after[1:]), (before[1:], after[:-1])]
    contacts = []
    for one, other in facing:
        both = (one >= 0) & (other >= 0)
        both[both] = codes[one[both]] == codes[other[both]]
        # one number for each pair: sorted several times faster than columns of two
        pairs = np.unique(one[both] * len(codes) + other[both])
        contacts.append((pairs // len(codes), pairs % len(codes)) if len(pairs) else (pairs, pairs))
    return contacts
