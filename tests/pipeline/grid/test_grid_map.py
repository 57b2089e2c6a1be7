"""GridMap: each pixel of a result is taken from the computed one in which its middle lies."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.grid_map import AxisMap, GridMap
from segment_tiles.pipeline.grid.window import Window


@st.composite
def axes(draw: st.DrawFn) -> AxisMap:
    size = draw(st.integers(1, 400))
    factor = draw(st.sampled_from([0.125, 1 / 3, 0.4, 0.7, 1.0, 1.3, 1.5, 2.0, 2.0004, 7.3, 40.0]))
    return AxisMap(size, max(1, math.ceil(size / factor - 1e-9)), factor)


@given(axes())
def test_every_pixel_is_taken_from_the_one_its_middle_lies_in(axis: AxisMap) -> None:
    found = axis.indices(0, axis.size).tolist()
    assert found == [min(int((i + 0.5) / axis.factor), axis.computed - 1) for i in range(axis.size)]
    assert found == sorted(found)


@given(axes(), st.data())
def test_intervals_of_computed_pixels_partition_the_result(axis: AxisMap, data: st.DataObject) -> None:
    inner = data.draw(st.lists(st.integers(0, axis.computed), max_size=5))
    edges = [0, *sorted(inner), axis.computed]
    found = [axis.taken_from(start, stop) for start, stop in pairwise(edges)]
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == axis.size
    for (start, stop), (first, last) in zip(pairwise(edges), found, strict=True):
        assert all(start <= index < stop for index in axis.indices(first, last))


@given(axes(), axes(), st.data())
def test_what_covers_a_window_is_no_more_than_it_needs(
    rows: AxisMap, columns: AxisMap, data: st.DataObject
) -> None:
    top, left = data.draw(st.integers(0, rows.size - 1)), data.draw(st.integers(0, columns.size - 1))
    bottom = data.draw(st.integers(top + 1, rows.size))
    right = data.draw(st.integers(left + 1, columns.size))
    window = Window.from_edges(top, left, bottom, right)
    covering = GridMap(rows, columns).covering(window)
    down, across = rows.indices(top, bottom), columns.indices(left, right)
    assert covering == Window.from_edges(down[0], across[0], down[-1] + 1, across[-1] + 1)
    assert GridMap(rows, columns).taken_from(covering).contains(window)


def test_the_identity_takes_every_pixel_from_itself() -> None:
    identity, window = GridMap.identity(70, 50), Window(3, 5, 20, 30)
    assert identity.is_identity
    assert identity.covering(window) == identity.taken_from(window) == window
