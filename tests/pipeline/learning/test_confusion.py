"""The confusion matrix against the definition of every score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix

CODES = st.sampled_from([0, 1, 2, 255])
MAPS = arrays(np.uint8, (2, 40), elements=CODES)


def matrix_of(truth: np.ndarray, mapped: np.ndarray) -> ConfusionMatrix:
    matrix = ConfusionMatrix(3)
    matrix.add(truth, mapped)
    return matrix


@given(MAPS)
def test_scores_follow_their_definition(maps: np.ndarray) -> None:
    truth, mapped = maps
    known = (truth != 255) & (mapped != 255)
    matrix = matrix_of(truth, mapped)
    for code in range(3):
        in_truth, in_map = known & (truth == code), known & (mapped == code)
        both, either = (in_truth & in_map).sum(), (in_truth | in_map).sum()
        scores = matrix.of_class(code)
        if either:
            assert scores.iou == pytest.approx(both / either)
            assert scores.dice == pytest.approx(2 * both / (in_truth.sum() + in_map.sum()))
        else:
            assert math.isnan(scores.iou)
        if in_map.sum():
            assert scores.precision == pytest.approx(both / in_map.sum())
        if in_truth.sum():
            assert scores.recall == pytest.approx(both / in_truth.sum())
    assert matrix.pixels == known.sum()


@given(MAPS, st.integers(0, 40))
def test_parts_add_up_to_the_whole(maps: np.ndarray, cut: int) -> None:
    truth, mapped = maps
    parts = matrix_of(truth[:cut], mapped[:cut])
    parts.merge(matrix_of(truth[cut:], mapped[cut:]))
    assert (parts.counts == matrix_of(truth, mapped).counts).all()


@given(MAPS)
def test_a_map_equal_to_the_truth_scores_one(maps: np.ndarray) -> None:
    matrix = matrix_of(maps[0], maps[0])
    if matrix.pixels:
        assert matrix.mean_iou == 1
        assert matrix.accuracy == 1


def test_nothing_counted_is_not_a_score() -> None:
    matrix = matrix_of(np.full(4, 255), np.zeros(4, dtype=int))
    assert math.isnan(matrix.mean_iou)
    assert math.isnan(matrix.accuracy)
