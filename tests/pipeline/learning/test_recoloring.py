"""A class changes its colour, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segment_tiles.pipeline.learning.augmentation.recoloring import ClassRecoloring
from segment_tiles.pipeline.learning.augmentation_settings import AugmentationSettings, RecoloringSettings
from segment_tiles.pipeline.learning.settings import TrainingSettings

MEAN = np.array([100, 120, 80], dtype=np.float32).reshape(3, 1, 1)
STD = np.array([50, 40, 30], dtype=np.float32).reshape(3, 1, 1)
SIDE, EDGE = 64, 20
"""An edge reaches four sigmas of at most four pixels."""


def recoloring(**classes: RecoloringSettings) -> ClassRecoloring:
    return ClassRecoloring(classes, ("ground", "tree"), MEAN, STD)


def halves(row: int = SIDE // 2) -> torch.Tensor:
    """Ground above, trees below."""
    labels = torch.zeros((SIDE, SIDE), dtype=torch.int64)
    labels[row:] = 1
    return labels


def normalised(light: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((light.astype(np.float32) - MEAN) / STD)


def light_of(values: torch.Tensor) -> np.ndarray:
    return values.numpy() * STD + MEAN


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gain=st.floats(0.5, 2.0), tint=st.floats(0, 0.5), grey=st.floats(0, 1))
def test_one_class_changes_and_the_other_keeps_its_colour(
    seed: int, gain: float, tint: float, grey: float
) -> None:
    light = np.random.default_rng(seed).integers(20, 200, (3, SIDE, SIDE))
    change = recoloring(ground=RecoloringSettings(probability=1, gain=(gain, gain), tint=tint, grey=grey))
    changed = light_of(change(normalised(light), halves(), np.random.default_rng(seed)))
    np.testing.assert_allclose(changed[:, SIDE // 2 + EDGE :], light[:, SIDE // 2 + EDGE :], atol=1e-3)
    above, before = changed[:, : SIDE // 2 - EDGE], light[:, : SIDE // 2 - EDGE]
    most = gain * np.exp(tint)
    low, high = before.min(axis=0) * gain * np.exp(-tint), before.max(axis=0) * most
    assert (above >= low - 1e-2).all()
    assert (above <= high + 1e-2).all()


def test_what_is_written_by_hand() -> None:
    light = np.full((3, SIDE, SIDE), 60)
    light[1] = 120
    double = recoloring(ground=RecoloringSettings(probability=1, gain=(2, 2), tint=0, grey=0))
    changed = light_of(double(normalised(light), halves(), np.random.default_rng(1)))
    np.testing.assert_allclose(changed[:, 0, 0], [120, 240, 120], rtol=1e-5)
    np.testing.assert_allclose(changed[:, -1, -1], [60, 120, 60], rtol=1e-5)
    between = changed[0, :, SIDE // 2]
    assert (np.diff(between) < 0).any()
    assert ((between > 61) & (between < 119)).any()  # the edge is soft


def test_black_stays_black() -> None:
    change = recoloring(ground=RecoloringSettings(probability=1, gain=(3, 3)))
    changed = change(normalised(np.zeros((3, SIDE, SIDE))), halves(), np.random.default_rng(2))
    np.testing.assert_allclose(light_of(changed), 0, atol=1e-4)


def test_a_pixel_without_a_label_goes_with_the_nearest() -> None:
    labels = halves()
    labels[SIDE // 2 - 10 : SIDE // 2 + 10] = 255
    change = recoloring(ground=RecoloringSettings(probability=1, gain=(2, 2), tint=0, grey=0))
    light = np.full((3, SIDE, SIDE), 50)
    with_gap = change(normalised(light), labels, np.random.default_rng(3))
    without = change(normalised(light), halves(), np.random.default_rng(3))
    torch.testing.assert_close(with_gap, without, rtol=0, atol=0)


def test_a_window_without_any_label_is_left_alone() -> None:
    labels = torch.full((SIDE, SIDE), 255, dtype=torch.int64)
    values = torch.randn(3, SIDE, SIDE)
    change = recoloring(ground=RecoloringSettings(probability=1))
    torch.testing.assert_close(change(values, labels, np.random.default_rng(4)), values)


def test_the_same_generator_gives_the_same_change() -> None:
    change = recoloring(ground=RecoloringSettings(probability=0.5), tree=RecoloringSettings(probability=0.5))
    values, labels = torch.randn(3, SIDE, SIDE), halves()
    for seed in range(8):
        first, second = (change(values, labels, np.random.default_rng(seed)) for _ in range(2))
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_where_nothing_is_named_nothing_is_drawn() -> None:
    values, random = torch.randn(3, SIDE, SIDE), np.random.default_rng(5)
    assert recoloring()(values, halves(), random) is values
    assert random.random() == np.random.default_rng(5).random()


def test_a_class_that_is_not_there_is_refused() -> None:
    scene = {"name": "a", "raster": "a.tif", "labels": "a.gpkg"}
    classes = [{"name": "ground", "color": (0, 0, 0)}, {"name": "tree", "color": (1, 1, 1)}]
    with pytest.raises(
        ValidationError, match=r"recolor names the class 'soil'; the classes are ground, tree"
    ):
        TrainingSettings(
            name="abc", scenes=(scene,), classes=classes, augmentation={"recolor": {"soil": {"tint": 0.1}}}
        )
    with pytest.raises(
        ValidationError, match=r"recolor\.tree\.gain is \(2\.0, 1\.0\); the smaller must come first"
    ):
        TrainingSettings(
            name="abc", scenes=(scene,), classes=classes, augmentation={"recolor": {"tree": {"gain": (2, 1)}}}
        )
    assert AugmentationSettings().recolor == {}
