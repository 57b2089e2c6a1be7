"""Borders and weights of pixels near objects, against references that look at every pixel and every object."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from segment_tiles.pipeline.learning.object_settings import BorderRule
from segment_tiles.pipeline.learning.objects.borders import border_pixels
from segment_tiles.pipeline.learning.objects.neighbours import neighbour_weights, reach_of


def touching_objects(seed: int, side: int = 40, count: int = 14) -> NDArray[np.int64]:
    """Cells around points, some of them without an object; numbers have gaps and are beyond 65 535."""
    random = np.random.default_rng(seed)
    centers = random.uniform(0, side, (count, 2))
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows[..., None] - centers[:, 0], columns[..., None] - centers[:, 1])
    numbers = random.choice(np.arange(1, 200_000), count, replace=False)
    return np.where(distance.min(-1) < random.uniform(4, 8), numbers[distance.argmin(-1)], 0)


def border_by_looking(numbers: NDArray[np.int64], width: int, where: BorderRule) -> NDArray[np.bool_]:
    border = np.zeros(numbers.shape, dtype=bool)
    for row, column in np.ndindex(numbers.shape):
        around = numbers[max(0, row - width) : row + width + 1, max(0, column - width) : column + width + 1]
        border[row, column] = len(set(around.ravel().tolist()) - {0}) > 1
        if where == "all" and numbers[row, column] > 0:
            border[row, column] |= bool((around != numbers[row, column]).any())
    return border


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("where", ["touching", "all"])
def test_borders_are_those_that_looking_finds(width: int, where: BorderRule) -> None:
    for seed in range(3):
        numbers = touching_objects(seed)
        ours = border_pixels(numbers, width, where)
        assert ours.any()
        assert not ours.all()
        assert np.array_equal(ours, border_by_looking(numbers, width, where))


def test_no_object_and_one_object_have_no_borders_between_them() -> None:
    nothing = np.zeros((9, 9), dtype=np.int64)
    one = np.pad(np.full((3, 3), 7, dtype=np.int64), 3)
    assert not border_pixels(nothing, 2, "all").any()
    assert not border_pixels(one, 2, "touching").any()
    assert np.array_equal(border_pixels(one, 1, "all"), (one > 0) & ~np.pad([[True]], 4))


def test_an_object_at_the_edge_of_the_raster_has_no_rim_there() -> None:
    assert not border_pixels(np.full((6, 6), 3, dtype=np.int64), 2, "all").any()


def test_weights_are_those_of_the_paper() -> None:
    numbers = touching_objects(5)
    numbers[numbers == np.unique(numbers)[2]] = 0
    distances = np.sort([distance_transform_edt(numbers != n) for n in np.unique(numbers) if n], axis=0)
    expected = 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 5.0**2))
    ours = neighbour_weights(numbers, 10, 5)
    assert ours.max() > 1
    # farther than four sigma away an object counts as none
    assert np.abs(ours - expected).max() <= 10 * np.exp(-8)
    near = distances[1] <= reach_of(5)
    assert np.allclose(ours[near], expected[near], rtol=1e-6)


def test_weights_and_borders_of_a_window_are_those_of_the_whole() -> None:
    numbers = touching_objects(8, side=70, count=40)
    weights, reach = neighbour_weights(numbers, 10, 2), reach_of(2)
    part = np.s_[20:50, 25:45]
    around = np.s_[20 - reach : 50 + reach, 25 - reach : 45 + reach]
    inside = np.s_[reach:-reach, reach:-reach]
    assert np.array_equal(neighbour_weights(numbers[around], 10, 2)[inside], weights[part])
    border = border_pixels(numbers, 3, "all")
    assert np.array_equal(border_pixels(numbers[17:53, 22:48], 3, "all")[3:-3, 3:-3], border[part])


def test_weights_need_two_objects() -> None:
    assert not neighbour_weights(np.zeros((5, 5), dtype=np.int64), 10, 5).any()
    assert not neighbour_weights(np.eye(5, dtype=np.int64) * 9, 10, 5).any()
