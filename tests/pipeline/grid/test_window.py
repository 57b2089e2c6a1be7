"""Windows and georeference on tiny cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window

numbers = st.integers(-20, 20)
sizes = st.integers(0, 20)
windows = st.builds(Window, numbers, numbers, sizes, sizes)


@given(windows, windows)
def test_intersection_has_the_pixels_of_both(a: Window, b: Window) -> None:
    pixels = {(r, c) for r in range(a.row, a.row_stop) for c in range(a.column, a.column_stop)}
    other = {(r, c) for r in range(b.row, b.row_stop) for c in range(b.column, b.column_stop)}
    both = a.intersect(b)
    assert both.area == len(pixels & other)
    assert a.contains(b) == (other <= pixels)


def test_shift_grow_relative() -> None:
    assert Window(1, 2, 3, 4).shift(1, 1) == Window(2, 3, 3, 4)
    assert Window(1, 2, 3, 4).grow(1) == Window(0, 1, 5, 6)
    assert Window(5, 7, 1, 1).relative_to(Window(5, 5, 9, 9)) == Window(0, 2, 1, 1)
    assert Window(0, 0, 0, 5).is_empty


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="height -1"):
        Window(0, 0, -1, 2)


def test_georef_of_a_crop_and_of_a_level() -> None:
    georef = GeoRef((10.0, 0.0, 500.0, 0.0, -10.0, 900.0))
    assert georef.of_window(Window(2, 3, 1, 1)).transform == (10.0, 0.0, 530.0, 0.0, -10.0, 880.0)
    assert georef.scaled(2, 2).pixel_area == 400.0
    assert georef.bounds(Window(0, 0, 4, 5)) == (500.0, 860.0, 550.0, 900.0)


def test_pixel_box_of_a_rotated_raster_holds_the_bounds_of_its_window() -> None:
    georef = GeoRef((3.0, 4.0, 100.0, 4.0, -3.0, 50.0))
    row, column, row_stop, column_stop = georef.pixel_box(georef.bounds(Window(2, 2, 5, 5)))
    assert row <= 2 <= 7 <= row_stop
    assert column <= 2 <= 7 <= column_stop
