"""Lengths on the ground."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.pictures.scale_bar import ground_pixel_width, round_scale_bar


def wkt(code: int) -> str:
    return CRS.from_epsg(code).to_wkt("WKT2_2019")


@given(st.floats(1e-4, 1e5), st.floats(10, 2000))
def test_bar_is_the_longest_round_length_that_fits(pixel_width: float, longest: float) -> None:
    bar = round_scale_bar(pixel_width, "metre", longest)
    assert bar.pixels <= longest * (1 + 1e-6)
    assert bar.pixels >= longest / 2.5 * (1 - 1e-6)
    length = bar.pixels * pixel_width
    mantissa = length / 10 ** math.floor(math.log10(length * (1 + 1e-4)))
    assert min(abs(mantissa - step) for step in (1, 2, 5)) < 1e-2


@pytest.mark.parametrize(
    ("pixel_width", "unit", "label"),
    [
        (0.1, "metre", "20 m"),
        (30, "metre", "5 km"),
        (0.001, "metre", "20 cm"),
        (0.00001, "metre", "2 mm"),
        (0.25, "micrometer", "50 µm"),
        (1, "millimeter", "200 mm"),
        (1, "pixel", "200 px"),
    ],
)
def test_labels(pixel_width: float, unit: str, label: str) -> None:
    assert round_scale_bar(pixel_width, unit, 200.5).label == label


@pytest.mark.parametrize(
    ("georef", "expected"),
    [
        (GeoRef((0.5, 0.0, 5e5, 0.0, -0.5, 4.9e6), wkt(32612)), (0.5, "metre")),
        (GeoRef((0.3, 0.4, 5e5, 0.4, -0.3, 4.9e6), wkt(32612)), (0.5, "metre")),
        (GeoRef((10.0, 0.0, 2e6, 0.0, -10.0, 7e5), wkt(2263)), (10 * 1200 / 3937, "metre")),  # US survey feet
        (GeoRef((0.001, 0.0, 10.0, 0.0, -0.001, 60.05), wkt(4326)), (55.8, "metre")),
        (GeoRef((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), None, "micrometer"), (0.25, "micrometer")),
        (GeoRef.of_pixels(), (1.0, "pixel")),
    ],
    ids=["metres", "rotated", "feet", "degrees", "microscope", "picture"],
)
def test_width_of_a_pixel(georef: GeoRef, expected: tuple[float, str]) -> None:
    width, unit = ground_pixel_width(georef, (100, 100))
    assert width == pytest.approx(expected[0], rel=1e-3)
    assert unit == expected[1]
