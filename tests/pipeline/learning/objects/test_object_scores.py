"""Scores of objects against a reference that holds the whole arrays and a dense table of all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segment_tiles.pipeline.learning.scores.objects.counts import OverlapCounter
from segment_tiles.pipeline.learning.scores.objects.totals import PERCENTS, ObjectTotals

Numbers = NDArray[np.int64]


def cells(random: np.random.Generator, side: int, count: int) -> tuple[Numbers, Numbers]:
    """Touching cells, and the same moved, with some lost, some new, some cut in two; numbers with large gaps."""
    centers, radii = random.uniform(0, side, (count, 2)), random.uniform(2, 8, count)
    truth = drawn(centers, radii, side)
    moved = centers + random.normal(0, 1.2, centers.shape)
    moved[: count // 8] = random.uniform(0, side, (count // 8, 2))
    mapped = drawn(moved, radii, side)
    columns = np.arange(side)[None]
    mapped = np.where((mapped > 0) & (mapped % 7 == 0) & (columns % 2 == 0), mapped + 1000, mapped)
    names = np.append(0, random.choice(2**40, 3000, replace=False) + 1)
    return names[truth], names[mapped]


def drawn(centers: NDArray[np.float64], radii: NDArray[np.float64], side: int) -> Numbers:
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows[..., None] - centers[:, 0], columns[..., None] - centers[:, 1])
    nearest = distance.argmin(-1)
    return np.where(distance.min(-1) < radii[nearest], nearest + 1, 0)


def by_windows(
    truth: Numbers, mapped: Numbers, side: int, known: NDArray[np.bool_] | None = None
) -> ObjectTotals:
    counter = OverlapCounter()
    for row in range(0, len(truth), side):
        for column in range(0, len(truth), side):
            part = np.s_[row : row + side, column : column + side]
            counter.add([truth[part]], [mapped[part]], None if known is None else known[part])
    ours, theirs = counter.numbers()
    return ObjectTotals.of(counter.overlaps(np.zeros(len(ours), int), np.zeros(len(theirs), int)))


def reference(truth: Numbers, mapped: Numbers) -> dict[str, object]:
    """All scores from a dense table of intersections."""
    ours, true_at = np.unique(np.append(0, truth), return_inverse=True)
    theirs, map_at = np.unique(np.append(0, mapped), return_inverse=True)
    table = np.zeros((len(ours), len(theirs)))
    np.add.at(table, (true_at[1:], map_at[1:]), 1)
    shared = table[1:, 1:]
    union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - shared
    iou = shared / union
    n, m = iou.shape
    found, segment_iou = [], 0.0
    for percent in PERCENTS:
        good = iou >= percent / 100
        rows, columns = linear_sum_assignment(good + iou / (2 * min(n, m)), maximize=True)
        found.append(int(good[rows, columns].sum()))
    strict = np.where(iou > 0.5, iou, 0)
    segment_iou = strict.sum()
    best = iou.argmax(1)
    overlapping = iou.max(1) > 0
    partner = best[overlapping]
    rest = table.sum(1)[1:][~overlapping].sum() + np.delete(table.sum(0)[1:], np.unique(partner)).sum()
    aji = shared[overlapping, partner].sum() / (union[overlapping, partner].sum() + rest)
    return {
        "counts": (n, m),
        "found": tuple(found),
        "pq": segment_iou / (n / 2 + m / 2),
        "sq": segment_iou / (strict > 0).sum(),
        "rq": 2 * (strict > 0).sum() / (n + m),
        "aji": aji,
        "dice": 2 * ((truth > 0) & (mapped > 0)).sum() / ((truth > 0).sum() + (mapped > 0).sum()),
    }


@pytest.mark.parametrize("seed", range(4))
def test_scores_by_windows_are_those_of_the_whole_array(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, mapped = cells(random, 90, 40)
    expected = reference(truth, mapped)
    for side in (17, 64, 90):
        ours = by_windows(truth, mapped, side)
        assert (ours.true, ours.mapped[0]) == expected["counts"]
        assert ours.found == expected["found"]
        assert 0 < ours.found[4] < ours.found[0] < ours.true
        assert ours.panoptic_quality == pytest.approx(expected["pq"])
        assert ours.segmentation_quality == pytest.approx(expected["sq"])
        assert ours.recognition_quality == pytest.approx(expected["rq"])
        assert ours.aggregated_jaccard == pytest.approx(expected["aji"])
        assert ours.dice == pytest.approx(expected["dice"])


def test_an_object_that_two_halves_share_is_found_once() -> None:
    truth = np.zeros((4, 8), dtype=np.int64)
    truth[1:3, 2:6] = 1
    mapped = truth.copy()
    mapped[1:3, 4:6] = 2
    ours = by_windows(np.pad(truth, ((0, 4), (0, 0))), np.pad(mapped, ((0, 4), (0, 0))), 3)
    assert ours.found == (1,) + (0,) * 9  # an IoU of exactly one half counts for F1
    assert ours.segments == 0  # and not for panoptic quality
    assert (ours.precision, ours.recall, ours.count_error) == (0.5, 1.0, 1)


def test_pixels_that_are_not_known_count_nowhere() -> None:
    truth, mapped = cells(np.random.default_rng(9), 60, 25)
    known = np.ones(truth.shape, dtype=bool)
    known[:, 31:] = False
    # objects that reach from one part into the other end there
    truth, mapped = (np.where(known, numbers, np.where(numbers > 0, 2**41, 0)) for numbers in (truth, mapped))
    left = by_windows(np.where(known, truth, 0), np.where(known, mapped, 0), 60)
    assert by_windows(truth, mapped, 16, known) == left


def test_scenes_are_added_up() -> None:
    pairs = [cells(np.random.default_rng(seed), 50, 20) for seed in (1, 2)]
    both = sum((by_windows(*pair, 50) for pair in pairs), ObjectTotals())
    side_by_side = [np.concatenate([one, np.zeros((50, 50), int)], axis=1) for one in pairs[0]]
    other = [
        np.concatenate([np.zeros((50, 50), int), np.where(two > 0, two + 2**41, 0)], axis=1)
        for two in pairs[1]
    ]
    truth, mapped = (np.concatenate([a, b]) for a, b in zip(side_by_side, other, strict=True))
    together = by_windows(truth, mapped, 100)
    assert (both.true, both.mapped, both.found, both.segments) == (
        together.true, together.mapped, together.found, together.segments,
    )  # fmt: skip
    assert both.panoptic_quality == pytest.approx(together.panoptic_quality)
    assert both.aggregated_jaccard == pytest.approx(together.aggregated_jaccard)


def test_nothing_on_both_sides_has_no_score() -> None:
    nothing = np.zeros((5, 5), dtype=np.int64)
    ours = by_windows(nothing, nothing, 5)
    assert math.isnan(ours.f1[0])
    assert math.isnan(ours.panoptic_quality)
    lonely = by_windows(nothing, nothing + 1, 5)
    assert (lonely.f1[0], lonely.precision, lonely.aggregated_jaccard) == (0, 0, 0)
