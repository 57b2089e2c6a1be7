"""Windows as a source with larger pixels shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segment_tiles.pipeline.learning.augmentation import changes
from segment_tiles.pipeline.learning.augmentation.changes import RadiometricAugmentation
from segment_tiles.pipeline.learning.augmentation_settings import AugmentationSettings
from segment_tiles.pipeline.sources.resampling.filters import area_taps, resampled

SIDE = 64


def augmentation(low_resolution: float, probability: float = 1.0) -> RadiometricAugmentation:
    """Nothing else changes."""
    return RadiometricAugmentation(
        AugmentationSettings(
            band_gain=0, band_offset=0, brightness=0, gamma=(1, 1), grey=0, noise=0, blur=0,
            low_resolution=low_resolution, probability=probability,
        )
    )  # fmt: skip


def changed(values: torch.Tensor, low_resolution: float, seed: int) -> torch.Tensor:
    return augmentation(low_resolution)(values, np.random.default_rng(seed))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most=st.floats(1.1, 4))
def test_what_is_finer_is_lost_and_what_is_coarser_stays(seed: int, most: float) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    board = torch.from_numpy((((rows + columns) % 2) * 2.0 - 1).astype(np.float32))[None]
    assert changed(board, most, seed).abs().mean() < board.abs().mean() + 1e-6
    ramp = torch.from_numpy((columns / SIDE).astype(np.float32))[None]
    inside = slice(8, -8)
    lost = (changed(ramp, most, seed) - ramp)[:, inside, inside].abs().max()
    assert lost < 2 * most / SIDE
    even = torch.full((3, SIDE, SIDE), 0.7)
    torch.testing.assert_close(changed(even, most, seed), even, atol=1e-5, rtol=0)


def test_detail_goes_with_the_size_of_the_pixels() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, SIDE, SIDE)).astype(np.float32))
    left = {
        most: np.mean([float(changed(noise, most, seed).std()) for seed in range(40)])
        for most in (1.0, 1.5, 3.0)
    }
    assert left[1.0] > 1.1 * left[1.5] > 1.2 * left[3.0]


def test_the_same_state_gives_the_same_change() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(3, SIDE, SIDE)).astype(np.float32))
    assert torch.equal(changed(noise, 3, 5), changed(noise, 3, 5))
    assert not torch.equal(changed(noise, 3, 5), changed(noise, 3, 6))


def test_pixels_cannot_become_finer() -> None:
    with pytest.raises(ValidationError, match="low_resolution"):
        AugmentationSettings(low_resolution=0.5)


@pytest.mark.parametrize("times", [2, 4])
def test_it_is_what_a_source_with_larger_pixels_becomes_for_the_model(times: int) -> None:
    """Means of areas and back again, as `ResampledSource` reads them, edges included."""
    values = np.random.default_rng(0).normal(size=(3, SIDE, SIDE)).astype(np.float32)
    [coarser] = changes.coarser(AugmentationSettings(low_resolution=times, probability=1.0))
    coarser.zoom_range = (1 / times, 1 / times)
    few = SIDE // times
    larger, *_ = resampled(values, None, *[area_taps(0, few, times, SIDE)] * 2)
    again, *_ = resampled(larger, None, *[area_taps(0, SIDE, 1 / times, few)] * 2)
    np.testing.assert_allclose(np.asarray(coarser(torch.from_numpy(values))), again, atol=1e-5)
