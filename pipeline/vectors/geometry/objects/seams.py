"""Objects across seams: the same identity is one object, and others that it touches are counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes
from segment_tiles.pipeline.vectors.rasters.identities import is_object

Numbers = NDArray[np.int64]


def same_objects(pieces: ObjectAttributes) -> tuple[Numbers, Numbers]:
    """Return pairs of pieces that are of one object, though they need not touch."""
    objects = np.flatnonzero(pieces.are_objects)
    order = objects[np.argsort(pieces.identities[objects], kind="stable")]
    same = pieces.identities[order[1:]] == pieces.identities[order[:-1]]
    return order[:-1][same], order[1:][same]


def contacts_across(
    pieces: ObjectAttributes, lines: Sequence[tuple[Numbers, Numbers]]
) -> list[tuple[Numbers, Numbers]]:
    """Return pieces of objects and the identity of another object that they touch across a seam.

    Parameters
    ----------
    pieces
        Of all tiles.
    lines
        Piece of each pixel on both sides of every seam; below 0: none.
    """
    found = []
    for before, after in lines:
        both = (before >= 0) & (after >= 0)
        pairs = np.unique(np.stack([before[both], after[both]]), axis=1)
        one, other = pieces.identities[pairs[0]], pieces.identities[pairs[1]]
        touch = (one != other) & is_object(one) & is_object(other)
        found += [(pairs[0][touch], other[touch]), (pairs[1][touch], one[touch])]
    return found


def with_neighbours(
    merged: ObjectAttributes,
    features: Numbers,
    pieces: ObjectAttributes,
    contacts: Sequence[tuple[Numbers, Numbers]],
) -> ObjectAttributes:
    """Return joined objects with the number of other objects that each touches.

    Parameters
    ----------
    merged
        One row for each feature.
    features
        Feature of each piece.
    pieces
        Of all tiles.
    contacts
        Pieces, and the identity of an object that each touches, inside a tile or across a seam.
    """
    piece = np.concatenate([np.empty(0, np.int64), *(one for one, _ in contacts)])
    identity = np.concatenate([np.empty(0, np.int64), *(other for _, other in contacts)])
    feature = features[piece]
    order = np.lexsort((identity, feature))
    feature, identity = feature[order], identity[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (feature[1:] != feature[:-1]) | (identity[1:] != identity[:-1])
    count = np.bincount(feature[is_new], minlength=len(merged)).astype(np.int64)
    return replace(merged, neighbours=count)
