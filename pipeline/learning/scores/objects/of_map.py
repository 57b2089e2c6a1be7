"""Objects of a class map that is small enough to be held, as a run would make them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.learning.scores.objects.counts import OverlapCounter
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.vectors.objects.nearest import nearest_seeds


def objects_of_map(codes: NDArray[np.integer], table: ClassTable) -> NDArray[np.int64]:
    """Return the number of the object that each pixel is of, 0: none.

    Seeds are the pieces of the class whose pixels share edges; a border pixel goes to the nearest within reach.
    Objects of fewer pixels than the rule asks for are left out.

    Parameters
    ----------
    codes
        rows x columns.
    table
        Classes, of which one has objects with a border.

    Raises
    ------
    UsageError
        None has.
    """
    rule = next((rule for rule in table.objects if rule.border is not None), None)
    if rule is None:
        msg = f"no class of {', '.join(table.names)} has objects with a border"
        raise UsageError(msg)
    of, border = (table.codes[table.names.index(name)] for name in (rule.name, str(rule.border)))
    numbers: NDArray[np.int64] = label(codes == of)[0].astype(np.int64)
    between = codes == border
    numbers[between] = nearest_seeds(numbers, between, rule.reach)
    is_small = np.bincount(numbers.ravel()) < rule.min_pixels
    return np.where(is_small[numbers], 0, numbers)


def totals_of(truth: NDArray[np.int64], mapped: NDArray[np.int64], known: NDArray[np.bool_]) -> ObjectTotals:
    """Compare numbers of objects, rows x columns each, where they are known."""
    counter = OverlapCounter()
    counter.add([truth], [mapped], known)
    ours, theirs = counter.numbers()
    return ObjectTotals.of(
        counter.overlaps(np.zeros(len(ours), dtype=np.int64), np.zeros(len(theirs), dtype=np.int64))
    )
