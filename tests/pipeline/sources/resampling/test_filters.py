"""Resampling: what a window holds never depends on the window; and it is the filter that it says it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.resampling.filters import resampled, taps

FACTORS = st.sampled_from([0.4, 0.989, 1.02, 1.5, 2.0, 2.7, 4.0, 7.3])


def part(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, factor: float, window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A window of the result, from no more of the source than it needs."""
    rows = taps(window.row, window.row_stop, factor, values.shape[1])
    columns = taps(window.column, window.column_stop, factor, values.shape[2])
    box = np.s_[rows.start : rows.stop, columns.start : columns.stop]
    mean, held, _ = resampled(values[:, *box], None if valid is None else valid[box], rows, columns)
    return mean, np.ones(window.shape, dtype=bool) if held is None else held


@given(FACTORS, st.sampled_from(["uint8", "uint16", "float32"]), st.booleans(), st.data())
def test_every_window_is_the_crop_of_the_whole(
    factor: float, dtype: str, has_holes: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    values = (rng.random((2, 61, 47)) * 250).astype(dtype)
    valid = rng.random((61, 47)) > 0.1 if has_holes else None
    height, width = (max(1, round(side / factor)) for side in (61, 47))
    whole, held = part(values, valid, factor, Window(0, 0, height, width))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window.from_edges(
        top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    )
    mean, kept = part(values, valid, factor, window)
    rows, columns = window.slices()
    np.testing.assert_array_equal(mean, whole[:, rows, columns])
    np.testing.assert_array_equal(kept, held[rows, columns])


@given(FACTORS, st.integers(0, 255))
def test_a_constant_stays_that_constant_to_the_edges(factor: float, value: int) -> None:
    values = np.full((1, 40, 33), value, dtype=np.uint8)
    height, width = (max(1, round(side / factor)) for side in (40, 33))
    mean, _ = part(values, None, factor, Window(0, 0, height, width))
    assert (mean == value).all()


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_it_is_the_antialiased_bilinear_filter_of_pillow(factor: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 60, 90), dtype=np.uint8)
    mean, _ = part(values, None, float(factor), Window(0, 0, 60 // factor, 90 // factor))
    picture = Image.fromarray(values.transpose(1, 2, 0)).resize(
        (90 // factor, 60 // factor), Image.Resampling.BILINEAR
    )
    assert np.abs(mean.astype(int) - np.asarray(picture).transpose(2, 0, 1)).max() <= 1


@given(arrays(bool, (12, 12)))
def test_missing_pixels_have_no_part_in_a_value(valid: NDArray[np.bool_]) -> None:
    values = np.where(valid, 100, 7).astype(np.uint8)[np.newaxis]
    mean, held = part(values, valid, 2.0, Window(0, 0, 6, 6))
    assert (mean[0][held] == 100).all()
    if valid.all() or not valid.any():
        assert held.all() == valid.all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_one_band_lacks_spoils_neither_its_neighbours_nor_other_bands(bad: float) -> None:
    values = np.full((2, 12, 12), 3.0, dtype=np.float32)
    values[1, 5, 5] = bad
    values[1, 8:, 8:] = bad
    mean, held = part(values, None, 2.0, Window(0, 0, 6, 6))
    assert held.all()
    np.testing.assert_allclose(mean[0], 3.0)
    np.testing.assert_allclose(mean[1, :4, :4], 3.0)
    assert np.isnan(mean[1, 5, 5])
    clean, _ = part(np.full((2, 12, 12), 3.0, dtype=np.float32), None, 2.0, Window(0, 0, 6, 6))
    assert np.array_equal(mean[:, :2, :2], clean[:, :2, :2])


def test_nan_where_it_is_missing_spoils_nothing() -> None:
    values = np.full((1, 8, 8), 3.0, dtype=np.float32)
    values[0, 2, 2] = np.nan
    mean, held = part(values, ~np.isnan(values[0]), 2.0, Window(0, 0, 4, 4))
    np.testing.assert_allclose(mean[0][held], 3.0)
