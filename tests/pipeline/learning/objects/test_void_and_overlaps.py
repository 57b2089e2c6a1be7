"""Objects in void of the truth, and objects of one side that overlap each other, against plain references."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize

from segment_tiles.pipeline.learning.scores.objects.counts import OverlapCounter
from segment_tiles.pipeline.learning.scores.objects.layers import Polygons
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.scores.objects.vectors import polygon_overlaps


def test_an_unmatched_object_mostly_in_void_is_no_false_positive() -> None:
    """1801.00868, 4.1: void is taken out before matching, and unmatched segments mostly in void after it."""
    known = np.ones((4, 12), dtype=bool)
    known[:, 6:] = False
    truth, mapped = np.zeros((2, *known.shape), dtype=np.int64)
    truth[0, 4:6] = 1
    mapped[0, 4:12] = 1  # three quarters in void, but the match of 1
    mapped[1, 5:12] = 2  # six sevenths in void
    mapped[2, 4:8] = 3  # half in void: counts
    mapped[3, 8:12] = 4  # all in void
    counter = OverlapCounter()
    for columns in (np.s_[:, :7], np.s_[:, 7:]):
        counter.add([truth[columns]], [mapped[columns]], known[columns])
    ours, theirs = counter.numbers()
    total = ObjectTotals.of(counter.overlaps(np.zeros(len(ours), int), np.zeros(len(theirs), int)))
    assert (total.true, total.mapped[0], total.found[0]) == (1, 2, 1)
    assert (total.precision, total.panoptic_quality) == (0.5, pytest.approx(1 / 1.5))
    assert total.dice == 2 * 2 / (2 + 5)


@pytest.mark.parametrize(("seed", "count"), [(0, 12), (1, 12), (2, 4), (3, 5)])
def test_dice_of_objects_that_overlap_is_that_of_their_unions(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        corners = random.integers(0, 20, (count, 2))
        boxes = shapely.box(*corners.T, *(corners + random.integers(3, 9, (count, 2))).T)
        sides.append(Polygons(boxes, np.arange(count) % 2, None, ()))
    drawn = [
        [
            rasterize([(box, i + 1)], out_shape=(30, 30)).astype(np.int64)
            for i, box in enumerate(side.geometries)
        ]
        for side in sides
    ]
    truth, mapped = sides
    counter = OverlapCounter()
    classes = [lambda numbers, side=side: side.classes[numbers - 1] for side in sides]
    for columns in (np.s_[:, :11], np.s_[:, 11:]):
        layers = [[layer[columns] for layer in side] for side in drawn]
        counter.add(layers[0], layers[1], None, (classes[0], classes[1]))
    ours, theirs = counter.numbers()
    by_pixel = counter.overlaps(truth.classes[ours - 1], mapped.classes[theirs - 1])
    by_area = polygon_overlaps(truth, mapped)
    for code in (0, 1):
        unions = [np.any(side[code::2], axis=0) for side in drawn]
        expected = 2 * (unions[0] & unions[1]).sum() / (unions[0].sum() + unions[1].sum())
        assert expected < 1
        for overlaps in (by_pixel, by_area):
            assert ObjectTotals.of(overlaps.of_class(code)).dice == pytest.approx(expected)
