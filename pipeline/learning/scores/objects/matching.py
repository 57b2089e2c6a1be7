"""Which mapped object is which true one: pairs whose IoU is high enough, each object in one pair at most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segment_tiles.pipeline.learning.scores.objects.counts import Overlaps


def matched_pairs(overlaps: Overlaps, percent: int, *, above: bool = False) -> NDArray[np.int64]:
    """Return which pairs are matches.

    As many as can be; among those as high an IoU as can be. Above one half no object has two partners unless objects
    of one side overlap each other, so there is nothing to choose.

    Parameters
    ----------
    overlaps
        Of one class.
    percent
        IoU from which on a pair may match, 50 or more.
    above
        The IoU must be above it, not equal to it.

    Returns
    -------
    NDArray
        Positions among the pairs.
    """
    reached, needed = 100 * overlaps.shared, percent * overlaps.unions
    good = np.flatnonzero(reached > needed if above else reached >= needed)
    ours, theirs = overlaps.truth_index[good], overlaps.map_index[good]
    if len(np.unique(ours)) == len(good) == len(np.unique(theirs)):
        return good
    iou = overlaps.shared[good] / overlaps.unions[good]
    return good[_assigned(ours, theirs, iou)]


def _assigned(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], iou: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the pairs of the best assignment, group by group of pairs that compete."""
    true_count, size = int(ours.max()) + 1, int(ours.max()) + int(theirs.max()) + 2
    graph = coo_array((np.ones(len(ours)), (ours, theirs + true_count)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][ours]
    order = np.argsort(group, kind="stable")
    chosen = []
    for pairs in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(pairs) == 1:
            chosen.append(pairs)
            continue
        rows, row = np.unique(ours[pairs], return_inverse=True)
        columns, column = np.unique(theirs[pairs], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        # a match more is worth more than any IoU
        gain[row, column] = 1 + iou[pairs] / (2 * len(pairs))
        which = np.full(gain.shape, -1)
        which[row, column] = pairs
        taken = which[linear_sum_assignment(gain, maximize=True)]
        chosen.append(taken[taken >= 0])
    return np.sort(np.concatenate(chosen))
