"""Polygons against polygons, without a grid: what they share is the area of their intersection."""

from __future__ import annotations

import numpy as np
import shapely

from segment_tiles.pipeline.learning.scores.objects.counts import Overlaps
from segment_tiles.pipeline.learning.scores.objects.layers import Polygons

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
    )
