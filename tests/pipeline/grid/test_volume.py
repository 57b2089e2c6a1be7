"""Slicing: a turned view of stored voxels, and back again, for any orientation."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from segment_tiles.pipeline.grid.volume import ANATOMICAL_AXES, Slicing, VolumeSpec, as_matrix, box_in_view

AXES = st.sampled_from(sorted(ANATOMICAL_AXES.values()))


@st.composite
def affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Any rotation, mirrored or not, with unequal steps."""
    rotation = Rotation.random(rng=np.random.default_rng(draw(st.integers(0, 10_000)))).as_matrix()
    steps = [draw(st.sampled_from([-3.0, -1.0, 0.5, 1.0, 2.2])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(steps)
    affine[:3, 3] = [draw(st.integers(-100, 100)) for _ in range(3)]
    return affine


@given(affines(), AXES)
def test_a_view_and_back_is_the_same_array(affine: NDArray[np.float64], axis: int) -> None:
    stored = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    slicing = Slicing.along(axis, as_matrix(affine))
    view = slicing.view(stored)
    assert view.shape[1:] == slicing.shape_of((3, 4, 5))
    assert np.shares_memory(view, stored), "nothing is copied"
    np.testing.assert_array_equal(slicing.stored(view[0]), stored[0])


@given(affines(), AXES)
def test_the_affine_of_the_view_names_the_same_places(affine: NDArray[np.float64], axis: int) -> None:
    spec = VolumeSpec((3, 4, 5), 1, "uint8", as_matrix(affine))
    slicing = Slicing.along(axis, spec.affine)
    # every voxel holds its own place
    places = np.einsum("rc,cijk->rijk", affine, np.stack([*np.indices(spec.shape), np.ones(spec.shape)]))
    view = slicing.view(places)
    index = np.stack([*np.indices(view.shape[1:]), np.ones(view.shape[1:])])
    np.testing.assert_allclose(np.einsum("rc,cijk->rijk", slicing.affine_of(spec), index), view, atol=1e-9)


@given(affines(), AXES)
def test_people_see_the_front_or_the_top_above(affine: NDArray[np.float64], axis: int) -> None:
    spec = VolumeSpec((4, 4, 4), 1, "uint8", as_matrix(affine))
    slicing = Slicing.along(axis, spec.affine)
    letters = nibabel.aff2axcodes(slicing.affine_of(spec))
    assert letters == {0: ("R", "I", "A"), 1: ("A", "I", "R"), 2: ("S", "P", "R")}[axis]


@given(affines(), AXES, st.data())
def test_a_box_of_voxels_is_a_box_of_the_view(
    affine: NDArray[np.float64], axis: int, data: st.DataObject
) -> None:
    shape = (5, 6, 7)
    origin = [data.draw(st.integers(0, side - 1)) for side in shape]
    box = [data.draw(st.integers(1, side - first)) for side, first in zip(shape, origin, strict=True)]
    stored = np.zeros(shape, dtype=bool)
    stored[tuple(slice(first, first + size) for first, size in zip(origin, box, strict=True))] = True
    slicing = Slicing.along(axis, as_matrix(affine))
    slices, window = box_in_view(slicing, shape, origin, box)
    expected = np.zeros(slicing.shape_of(shape), dtype=bool)
    expected[(slice(*slices), *window.slices())] = True
    np.testing.assert_array_equal(slicing.view(stored), expected)


def test_spacing_and_volume() -> None:
    spec = VolumeSpec((2, 3, 4), 1, "int16", as_matrix(np.diag([-2.0, 3.0, 5.0, 1.0])))
    assert spec.voxel_volume == pytest.approx(30.0)
    assert spec.nbytes == 48
    assert Slicing.along(2, spec.affine).spacing_of(spec.affine) == (5.0, 3.0, 2.0)
