"""Polygons against polygons, without a grid: what they share is the area of their intersection."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.learning.scores.objects.counts import Overlaps
from segment_tiles.pipeline.learning.scores.objects.layers import Polygons, overlap_each_other

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
        ours, theirs = (side.geometries[side.classes == code] for side in (truth, mapped))
        if not (overlap_each_other(ours) or overlap_each_other(theirs)):
            continue
        one, other = shapely.union_all(ours), shapely.union_all(theirs)
        of_class = (truth.classes[pairs[0]] == code) & (mapped.classes[pairs[1]] == code)
        sums = (shapely.area(ours).sum(), shapely.area(theirs).sum(), shared[of_class].sum())
        areas = np.array([one.area, other.area, one.intersection(other).area])
        twice[code] = np.maximum(np.array(sums) - areas, 0)
    return twice
