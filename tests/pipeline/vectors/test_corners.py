"""Outlines from corners: the polygons of GDAL's polygonizer."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.components import label_components
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tracing.corners import connected_outlines
from segment_tiles.pipeline.vectors.tracing.trace import trace_outlines

CODES = st.integers(1, 4).flatmap(
    lambda classes: arrays(
        np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, classes)
    )
)


def labels_of(codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Label the areas of all codes but 0."""
    return label_components(codes, ClassSelection(None, (0,)), 4).labels


def same_as_gdal(labels: NDArray[np.int32]) -> None:
    owner, polygons = connected_outlines(labels)
    expected_owner, expected = trace_outlines(labels, with_unlabelled=False)
    order = np.argsort(expected_owner)
    assert owner.tolist() == expected_owner[order].tolist()
    assert shapely.is_valid(polygons).all()
    found, wanted = (shapely.to_wkb(shapely.normalize(part)) for part in (polygons, expected[order]))
    assert (found == wanted).all()


@given(CODES, st.integers(0, 9))
def test_small_rasters(codes: NDArray[np.uint8], dropped: int) -> None:
    """One label is taken away, as that of a feature that is too small."""
    labels = labels_of(codes)
    labels[labels == dropped] = 0
    same_as_gdal(labels)


@pytest.mark.parametrize("classes", [2, 3, 9])
@pytest.mark.parametrize("side", [1, 8])
def test_noise_and_blots(classes: int, side: int) -> None:
    codes = np.random.default_rng(side).integers(0, classes, (40, 37), dtype=np.uint8)
    same_as_gdal(labels_of(codes.repeat(side, 0).repeat(side, 1)))


def test_areas_that_touch_themselves_at_corners() -> None:
    """A loop closed by a corner, a hole on it, and holes that touch each other."""
    drawn = [
        "1111111",
        "1000111",
        "1011011",
        "1010101",
        "1101111",
        "1111110",
        "0111101",
    ]
    labels = labels_of(np.array([[int(pixel) for pixel in row] for row in drawn], np.uint8))
    same_as_gdal(labels)
    _, polygons = connected_outlines(labels)
    assert len(polygons[0].interiors) >= 2


def test_one_long_ring_and_none() -> None:
    spiral = np.zeros((101, 101), np.uint8)
    for ring in range(0, 50, 2):
        spiral[ring, ring : 101 - ring] = spiral[101 - ring - 1, ring : 101 - ring] = 1
        spiral[ring : 101 - ring, 101 - ring - 1] = 1
        spiral[ring + 2 : 101 - ring, ring] = spiral[ring + 2, ring : ring + 3] = 1
    same_as_gdal(labels_of(spiral))
    owner, polygons = connected_outlines(np.zeros((5, 4), np.int32))
    assert len(owner) == len(polygons) == 0
