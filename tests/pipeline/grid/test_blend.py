"""Blend weights are positive and symmetric, and their running mean is the weighted mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.blend import blend_weights, overlap_ratios
from segment_tiles.pipeline.grid.lattice import LatticeAxis

SMOOTH = ("gaussian", "hann", "linear")


@given(st.sampled_from(SMOOTH), st.integers(1, 300), st.integers(0, 100))
def test_weights_are_positive_and_symmetric(blend: str, tile: int, overlap: int) -> None:
    weights = blend_weights(blend, tile, min(overlap, tile - 1))
    assert weights.shape == (tile,)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, weights[::-1])


@given(st.sampled_from(SMOOTH), st.sampled_from([(8, 2), (8, 6), (10, 4), (9, 8), (5, 4)]), st.integers(1, 9))
def test_running_mean_is_the_weighted_mean(blend: str, sides: tuple[int, int], tiles: int) -> None:
    tile, overlap = sides
    axis = LatticeAxis(overlap + tiles * (tile - overlap), tile, overlap)
    assert axis.count == tiles
    scores = np.random.default_rng(tiles).random((tiles, tile))
    mean = np.zeros(axis.size)
    total, weight = np.zeros(axis.size), np.zeros(axis.size)
    for index in range(tiles):
        span = slice(axis.start(index), axis.start(index) + tile)
        ratio = np.ones(tile)
        if index > 0:
            ratio[:overlap] = overlap_ratios(blend, axis, index)
        mean[span] += ratio * (scores[index] - mean[span])
        total[span] += blend_weights(blend, tile, overlap) * scores[index]
        weight[span] += blend_weights(blend, tile, overlap)
    np.testing.assert_allclose(mean, total / weight, rtol=1e-5)


def test_linear_weights_by_hand() -> None:
    np.testing.assert_allclose(blend_weights("linear", 6, 2), [0.25, 0.75, 1, 1, 0.75, 0.25])


def test_crop_takes_the_earlier_tile_on_the_first_half() -> None:
    assert overlap_ratios("crop", LatticeAxis(20, 8, 4), 1).tolist() == [0, 0, 1, 1]


def test_unknown_blend_names_all_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'cosine'.*gaussian, hann, linear, crop"):
        blend_weights("cosine", 8, 2)
