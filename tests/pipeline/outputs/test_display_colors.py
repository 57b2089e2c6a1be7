"""Any raster as displayable colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.outputs.pictures.display_colors import NODATA_GRAY, display_rgb


@given(
    st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_every_type_and_band_count_gives_8_bit_colours(dtype: str, bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(bands, 9, 7)) * 100 + 120).astype(dtype)
    rgb = display_rgb(values)
    assert rgb.shape == (9, 7, 3)
    assert rgb.dtype == np.uint8
    assert rgb.min() == 0
    assert rgb.max() == 255
    if bands < 3:
        assert (rgb == rgb[..., :1]).all()


@given(arrays(np.float32, (1, 6, 6), elements=st.floats(-1e6, 1e6, width=32)))
def test_brighter_is_never_darker(values: np.ndarray) -> None:
    gray = display_rgb(values)[..., 0].ravel().astype(int)
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(gray[order]) >= 0).all()


@given(st.floats(0.1, 50), st.floats(-1000, 1000))
def test_gain_and_offset_of_the_sensor_do_not_show(gain: float, offset: float) -> None:
    values = np.random.default_rng(0).integers(0, 200, (3, 20, 20)).astype(np.float64)
    difference = display_rgb(values).astype(int) - display_rgb(values * gain + offset).astype(int)
    assert np.abs(difference).max() <= 1


def test_percentiles_ignore_outliers_and_invalid_pixels() -> None:
    values = np.tile(np.linspace(100, 200, 100), (1, 100, 1))
    values[0, 0, 0] = 1e9
    values[0, 50:] = 0  # a black half outside the swath
    valid = np.ones((100, 100), bool)
    valid[50:] = False
    rgb = display_rgb(values, valid)
    assert (rgb[50:] == NODATA_GRAY).all()
    assert 120 <= rgb[10, 50, 0] <= 136


def test_values_that_are_no_numbers_are_no_data() -> None:
    values = np.arange(300, dtype=np.float32).reshape(3, 10, 10)
    values[1, 2, 3], values[0, 4, 4] = np.nan, np.inf
    rgb = display_rgb(values)
    assert (rgb[2, 3] == NODATA_GRAY).all()
    assert (rgb[4, 4] == NODATA_GRAY).all()


def test_named_bands_are_shown_in_their_colours() -> None:
    values = np.zeros((4, 10, 10), np.uint16)
    values[2, :5] = 1000  # red, in Landsat's order
    rgb = display_rgb(values, band_names=("Blue", "green", "red", "nir"))
    assert (rgb[:5, :, 0] > rgb[5:, :, 0].max()).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_one_value_is_middle_gray(value: int) -> None:
    assert (display_rgb(np.full((1, 4, 4), value, np.uint16)) == 128).all()


def test_a_rare_value_in_a_constant_band_still_shows() -> None:
    values = np.zeros((1, 100, 100), np.uint8)
    values[0, 3, 3] = 200
    rgb = display_rgb(values)
    assert rgb[3, 3, 0] == 255
    assert rgb[0, 0, 0] == 0


def test_no_valid_pixel_at_all() -> None:
    rgb = display_rgb(np.zeros((3, 4, 5), np.uint8), np.zeros((4, 5), bool))
    assert (rgb == NODATA_GRAY).all()
