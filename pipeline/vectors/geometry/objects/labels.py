"""Objects of one vector tile: components that belong to one object, and which objects touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.attributes import sums
from segment_tiles.pipeline.vectors.geometry.components import Components, label_components
from segment_tiles.pipeline.vectors.rasters.identities import Identities, is_object
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ObjectSelection(ClassSelection):
    """Identities that become features: those whose class does."""

    identities: Identities

    def selects(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return True for the identities that become features."""
        classes = ClassSelection(self.wanted, self.unwanted)
        return classes.selects(self.identities.classes(codes.astype(np.int64)))

    def are_large_enough(self, codes: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for the objects that have the pixels that their rule asks for, and for what is no object."""
        enough = pixels > 0
        for code, least in zip(self.identities.codes, self.identities.min_pixels, strict=True):
            enough &= (codes != code) | (pixels >= least)
        return enough


def label_objects(
    identities: Numbers,
    selection: ObjectSelection,
    connectivity: int,
    confidence: NDArray[np.uint8] | None,
) -> tuple[Components, Numbers]:
    """Label the objects of an array, and the connected components of what is none.

    Returns
    -------
    components : Components
        In the order of first pixels, with class codes. An object may have several connected areas.
    identities : array of int64
        Of each component.
    """
    found = label_components(identities, selection, connectivity, confidence)
    group, count = _groups(found.codes)
    first = np.full(count, len(group), dtype=np.int64)
    np.minimum.at(first, group, np.arange(len(group)))
    labels = np.concatenate([[0], group + 1]).astype(np.int32)[found.labels]
    codes = found.codes[first]
    merged = Components(
        labels,
        selection.identities.classes(codes),
        sums(found.pixels, group, count),
        found.first_pixels[first],
        sums(found.confidence_sums, group, count),
    )
    return merged, codes


def _groups(identities: Numbers) -> tuple[Numbers, int]:
    """Return which component each belongs to: objects by identity; numbered in the order of their first ones."""
    objects = np.flatnonzero(is_object(identities))
    first = np.arange(len(identities))
    _, firsts, inverse = np.unique(identities[objects], return_index=True, return_inverse=True)
    first[objects] = objects[firsts][inverse]
    number = np.cumsum(first == np.arange(len(identities))) - 1
    return number[first], int(number[-1]) + 1 if len(number) else 0


def touching(labels: NDArray[np.int32], are_objects: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Return the pairs of different objects that share an edge of a pixel, both ways, without repetition.

    Parameters
    ----------
    labels : array rows x columns of int32
        Labels from 1 on; 0 is not labelled.
    are_objects : array of bool
        Of each label.

    Returns
    -------
    one, other : arrays of int64
        Labels less 1; ``one`` ascends.
    """
    count = len(are_objects) + 1
    counts = np.append(False, are_objects)
    found = [np.empty(0, dtype=np.int64)]
    for first, second in ((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:])):
        differ = (first != second) & (first > 0) & (second > 0)
        one, other = first[differ].astype(np.int64), second[differ].astype(np.int64)
        both = counts[one] & counts[other]
        found.append(np.unique(one[both] * count + other[both]))
    one, other = np.divmod(np.unique(np.concatenate(found)), count)
    pairs = np.unique(np.concatenate([one * count + other, other * count + one]))
    return pairs // count - 1, pairs % count - 1
