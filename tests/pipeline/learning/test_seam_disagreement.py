"""Disagreement of neighbouring tiles: counted by hand, and none where a pixel decides alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.scores.seam_disagreement import SeamDisagreement, measure_seams
from segment_tiles.pipeline.sources.array import ArraySource


class Scorer:
    """Two classes by a rule on the values of a tile."""

    device = torch.device("cpu")
    batches_at_once = 1
    classes = ClassTable((MapClass(0, "a", (0, 0, 0)), MapClass(1, "b", (1, 1, 1))))

    def scores(self, values: Tensor, valid: Tensor | None) -> Tensor:
        second = self.rule(values[:, 0].float())
        return torch.stack([1 - second, second], dim=1)

    def rule(self, values: Tensor) -> Tensor:
        raise NotImplementedError


class RightHalf(Scorer):
    """The right half of every tile is of the second class, whatever it shows."""

    def rule(self, values: Tensor) -> Tensor:
        share = torch.full(values.shape, 0.25)
        share[..., values.shape[-1] // 2 :] = 0.75
        return share


class Alone(Scorer):
    """Every pixel by its own value."""

    def rule(self, values: Tensor) -> Tensor:
        return values / 255


class TileMean(Scorer):
    """Every pixel by the mean of its tile, as global pooling does."""

    def rule(self, values: Tensor) -> Tensor:
        return (values.mean((1, 2), keepdim=True) / 255).expand_as(values)


def source_of(height: int, width: int, seed: int = 0, valid: np.ndarray | None = None) -> ArraySource:
    values = np.random.default_rng(seed).integers(0, 256, (1, height, width), dtype=np.uint8)
    return ArraySource(values, valid=valid)


def measured(scorer: Scorer, height: int, width: int, **options: object) -> SeamDisagreement:
    source = source_of(height, width, **options)  # type: ignore[arg-type]
    return measure_seams(source, scorer, Lattice(height, width, 8, 4), source.spec.window)


def test_a_hand_example() -> None:
    """12 x 12 pixels, tiles of 8, overlap 4: two by two tiles.

    Side by side: two pairs share 8 x 4 pixels, of which the left tile says b and the right one a.
    Above each other: two pairs share 4 x 8, and agree.
    """
    seams = measured(RightHalf(), 12, 12)
    assert (seams.pixels, seams.differing) == (2 * 32 + 2 * 32, 2 * 32)
    assert seams.class_share == 0.5
    assert seams.score_difference == pytest.approx(0.25)  # half of them differ by 0.75 - 0.25


def test_overhang_and_missing_pixels_do_not_count() -> None:
    """10 rows of 12: the lower tiles have 6 rows inside the raster, the upper ones 8."""
    assert measured(RightHalf(), 10, 12).pixels == (8 + 6) * 4 + 2 * 4 * 8
    valid = np.ones((12, 12), dtype=bool)
    valid[:, 4:8] = False  # all that tiles side by side share
    seams = measured(RightHalf(), 12, 12, valid=valid)
    assert (seams.pixels, seams.differing) == (2 * 4 * 4, 0)


def test_a_region_counts_its_own_pixels() -> None:
    source = source_of(20, 20)
    seams = measure_seams(source, RightHalf(), Lattice(20, 20, 8, 4), Window(0, 4, 4, 4))
    assert (seams.pixels, seams.differing) == (16, 16)


def test_one_tile_has_no_seam() -> None:
    seams = measured(RightHalf(), 8, 8)
    assert seams.pixels == 0
    assert math.isnan(seams.class_share)
    assert math.isnan(seams.score_difference)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    overlap=st.sampled_from([2, 4, 6]),
    seed=st.integers(0, 9),
)
def test_pixels_that_decide_alone_never_disagree(height: int, width: int, overlap: int, seed: int) -> None:
    source = source_of(height, width, seed)
    seams = measure_seams(source, Alone(), Lattice(height, width, 8, overlap), source.spec.window)
    assert (seams.differing, seams.difference) == (0, 0)


def test_what_depends_on_the_whole_tile_disagrees() -> None:
    assert measured(TileMean(), 40, 40).score_difference > 0
