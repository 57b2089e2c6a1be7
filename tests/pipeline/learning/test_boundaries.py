"""Boundary IoU and trimap against slow definitions, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.learning.scores.boundaries import BoundaryIou, TrimapScores

SIDE = 9
MAPS = arrays(np.uint8, (2, SIDE, SIDE), elements=st.sampled_from([0, 1, 255]))
WHOLE = (slice(None), slice(None))


def near_other_class(codes: np.ndarray, known: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a class with a known pixel of another class within width, by looking at each pair."""
    band = np.zeros_like(known)
    for row, column in np.argwhere(known):
        box = (
            slice(max(0, row - width), row + width + 1),
            slice(max(0, column - width), column + width + 1),
        )
        band[row, column] = (known[box] & (codes[box] != codes[row, column])).any()
    return band


def tensors(maps: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    truth, mapped = maps
    known = (truth != 255) & (mapped != 255)
    return torch.from_numpy(truth), torch.from_numpy(mapped), torch.from_numpy(known)


@settings(deadline=None, max_examples=60)
@given(MAPS, st.integers(1, 3))
def test_boundary_iou_follows_its_definition(maps: np.ndarray, width: int) -> None:
    truth, mapped, known = tensors(maps)
    score = BoundaryIou(2, width)
    score.add(truth, mapped, known, WHOLE)
    keep = known.numpy()
    in_truth = near_other_class(maps[0], keep, width) & (maps[0] == 1)
    in_map = near_other_class(maps[1], keep, width) & (maps[1] == 1)
    either = (in_truth | in_map).sum()
    if either:
        assert score.of_class(1) == pytest.approx((in_truth & in_map).sum() / either)
    else:
        assert math.isnan(score.of_class(1))


@settings(deadline=None, max_examples=60)
@given(MAPS, st.integers(1, 3))
def test_trimap_counts_both_sides_of_true_edges(maps: np.ndarray, width: int) -> None:
    truth, mapped, known = tensors(maps)
    score = TrimapScores(2, width)
    score.add(truth, mapped, known, WHOLE)
    band = near_other_class(maps[0], known.numpy(), width)
    right = (band & (maps[0] == maps[1])).sum()
    assert score.matrix.pixels == band.sum()
    assert np.trace(score.matrix.counts) == right


@settings(deadline=None, max_examples=40)
@given(MAPS, st.integers(1, 3), st.integers(1, SIDE - 1))
def test_scores_do_not_depend_on_the_cut(maps: np.ndarray, width: int, cut: int) -> None:
    truth, mapped, known = tensors(maps)
    whole, parts = BoundaryIou(2, width), BoundaryIou(2, width)
    whole.add(truth, mapped, known, WHOLE)
    for first, last in ((0, cut), (cut, SIDE)):
        low, high = max(0, first - width), min(SIDE, last + width)
        core = (slice(first - low, last - low), slice(None))
        parts.add(truth[low:high], mapped[low:high], known[low:high], core)
    for code in (0, 1):
        assert whole.of_class(code) == pytest.approx(parts.of_class(code), nan_ok=True)


def test_the_edge_of_the_raster_is_no_boundary() -> None:
    ones = torch.ones((5, 5), dtype=torch.uint8)
    score = BoundaryIou(2, 2)
    score.add(ones, ones, ones.bool(), WHOLE)
    assert math.isnan(score.mean)
