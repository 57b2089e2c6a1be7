"""Polygons against polygons, without a grid: what they share is the area of their intersection."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.learning.scores.objects.counts import Overlaps
from segment_tiles.pipeline.learning.scores.objects.layers import Polygons, that_overlap_each_other

PAIRS_AT_ONCE = 100_000
"""Intersections that are in memory at a time."""


def polygon_overlaps(truth: Polygons, mapped: Polygons) -> Overlaps:
    """Return what the polygons share, in square units of their common CRS."""
    ours, theirs = shapely.STRtree(mapped.geometries).query(truth.geometries, predicate="intersects")
    order = np.lexsort((theirs, ours))
    ours, theirs = ours[order], theirs[order]
    shared = np.empty(len(ours))
    for start in range(0, len(ours), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        both = shapely.intersection(truth.geometries[ours[part]], mapped.geometries[theirs[part]])
        shared[part] = shapely.area(both)
    kept = shared > 0  # others touch
    return Overlaps(
        shapely.area(truth.geometries),
        shapely.area(mapped.geometries),
        truth.classes,
        mapped.classes,
        ours[kept],
        theirs[kept],
        shared[kept],
        np.zeros(len(mapped.geometries)),
        _twice(truth, mapped, shared, (ours, theirs)),
    )


def _twice(
    truth: Polygons, mapped: Polygons, shared: NDArray[np.float64], pairs: tuple[NDArray[np.int64], ...]
) -> NDArray[np.float64]:
    """Return the area that polygons of one side have more than once: classes x (truth, map, shared)."""
    count = 1 + max((int(side.classes.max(initial=-1)) for side in (truth, mapped)), default=0)
    twice = np.zeros((count, 3))
    for code in range(count):
        of_class = (truth.classes[pairs[0]] == code) & (mapped.classes[pairs[1]] == code)
        ours, theirs = pairs[0][of_class], pairs[1][of_class]
        doubled = [np.zeros(len(side.classes), dtype=bool) for side in (truth, mapped)]
        for side, here in zip((truth, mapped), doubled, strict=True):
            which = np.flatnonzero(side.classes == code)
            here[which[that_overlap_each_other(side.geometries[which])]] = True
        # nothing is counted twice outside those that overlap, and what lies over them on the other side counts with it
        near = [here.copy() for here in doubled]
        near[0][ours[doubled[1][theirs]]] = True
        near[1][theirs[doubled[0][ours]]] = True
        if near[0].any() or near[1].any():
            both = shared[of_class][near[0][ours] & near[1][theirs]]
            twice[code] = _excess(truth.geometries[near[0]], mapped.geometries[near[1]], both.sum())
    return twice


def _excess(ours: NDArray[np.object_], theirs: NDArray[np.object_], shared: float) -> NDArray[np.float64]:
    """Return by how much the areas of polygons, and of their pairs together, are more than those of their unions."""
    one, other = shapely.union_all(ours), shapely.union_all(theirs)
    sums = np.array([shapely.area(ours).sum(), shapely.area(theirs).sum(), shared])
    excess = sums - np.array([one.area, other.area, one.intersection(other).area])
    return np.asarray(np.maximum(excess, 0))
