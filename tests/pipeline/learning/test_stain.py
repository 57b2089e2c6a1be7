"""Stain jitter, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import hed2rgb, rgb2hed

from segment_tiles.pipeline.learning.augmentation.stain import StainJitter
from segment_tiles.pipeline.learning.augmentation_settings import StainSettings

MEAN, STD = np.array([150, 100, 140], np.float32)[:, None, None], np.full((3, 1, 1), 40, np.float32)


def tissue() -> np.ndarray:
    """Rows x columns x 3: purple on pink, uint8."""
    share = np.random.default_rng(1).uniform(0, 1, (12, 10, 1))
    return (share * [90, 40, 130] + (1 - share) * [230, 180, 210]).round()


def jitter(settings: StainSettings, picture: np.ndarray, seed: int) -> np.ndarray:
    values = torch.from_numpy(((picture.transpose(2, 0, 1) - MEAN) / STD).astype(np.float32))
    changed = StainJitter(settings, MEAN, STD, 255)(values, np.random.default_rng(seed)).numpy()
    return (changed * STD + MEAN).transpose(1, 2, 0)


def test_stains_are_changed_as_scikit_image_splits_them() -> None:
    settings = StainSettings(probability=1, gain=0.2, shift=0.03)
    random = np.random.default_rng(4)
    random.random()
    gain, shift = random.uniform(0.8, 1.2, 3), random.uniform(-0.03, 0.03, 3)
    expected = 255 * hed2rgb(rgb2hed(tissue() / 255) * gain + shift)
    assert np.allclose(jitter(settings, tissue(), 4), expected, atol=0.05)
    assert np.abs(expected - tissue()).max() > 3


def test_nothing_changes_without_a_change_and_in_grey() -> None:
    none = StainSettings(probability=1, gain=0, shift=0)
    assert np.allclose(jitter(none, tissue(), 0), tissue(), atol=0.05)
    grey = tissue()[..., :1].repeat(3, -1)
    assert np.array_equal(jitter(StainSettings(probability=1), grey, 0), jitter(StainSettings(), grey, 0))


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_it_is_done_as_often_as_asked(probability: float) -> None:
    settings = StainSettings(probability=probability)
    changed = [np.abs(jitter(settings, tissue(), seed) - tissue()).max() > 1 for seed in range(40)]
    assert abs(np.mean(changed) - probability) < 0.25
    assert any(changed) == (probability > 0)
