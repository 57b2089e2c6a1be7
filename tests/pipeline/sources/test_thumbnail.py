"""The thumbnail of a source: the same whatever was read in which order, and in which pieces it was kept."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.thumbnail import Thumbnail, ThumbnailGrid, WatchedSource

NODATA = 255


def edges(data: Any, length: int) -> list[int]:
    inner = data.draw(st.lists(st.integers(0, length), max_size=4))
    return [0, *sorted(inner), length]


@given(st.data())
def test_it_does_not_depend_on_reads_and_pieces(data: Any) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    corner = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    rng = np.random.default_rng(height * width)
    values = rng.integers(0, 2**16, (4, height + 9, width + 9), dtype=np.uint16)
    codes = rng.choice([0, 1, NODATA], (height, width))
    grid = ThumbnailGrid(Window(*corner, height, width), (rows, columns), (2, 0))

    pieces = []
    tops, lefts = edges(data, height), edges(data, width)
    for top, bottom in pairwise(tops):
        for left, right in pairwise(lefts):
            window = Window.from_edges(top, left, bottom, right)
            there = window.shift(*corner)
            part = Thumbnail(grid, there, "uint16")
            source = WatchedSource(ArraySource(values), part)
            halo = there.grow(3).intersect(source.spec.window)
            source.read(Window(halo.row, halo.column, halo.height // 2, halo.width))
            source.read_into(halo, np.empty((4, *halo.shape), np.uint16))
            pieces.append((window, part.content(window, codes[window.slices()], NODATA)))
    whole = Thumbnail(grid, grid.window, "uint16")
    assert all(whole.take(window, content) for window, content in reversed(pieces))

    middle_rows = [(2 * i + 1) * height // (2 * rows) for i in range(rows)]
    middle_columns = [(2 * j + 1) * width // (2 * columns) for j in range(columns)]
    shown = codes[np.ix_(middle_rows, middle_columns)] != NODATA
    inside = values[[2, 0], corner[0] : corner[0] + height, corner[1] : corner[1] + width]
    expected = np.where(shown, inside[:, middle_rows][:, :, middle_columns], 0)
    np.testing.assert_array_equal(whole.valid, shown)
    np.testing.assert_array_equal(whole.values, expected)


def test_a_piece_of_another_thumbnail_is_not_taken() -> None:
    window = Window(0, 0, 40, 40)
    other, here = (ThumbnailGrid(window, shape, (0,)) for shape in ((20, 20), (10, 20)))
    content = Thumbnail(other, window, "uint8").content(window, np.zeros((40, 40)), NODATA)
    thumbnail = Thumbnail(here, window, "uint8")
    assert not thumbnail.take(window, content)
    assert not thumbnail.valid.any()


def test_what_was_read_last_is_what_is_kept() -> None:
    """A source that answers after a failure is read again."""
    window = Window(0, 0, 4, 4)
    thumbnail = Thumbnail(ThumbnailGrid(window, (2, 2), (0,)), window, "float32")
    thumbnail.put(window, np.full((1, 4, 4), np.nan))
    thumbnail.put(window, np.arange(16.0).reshape(1, 4, 4))
    thumbnail.show(window, np.zeros((4, 4)), NODATA)
    assert thumbnail.values[0].tolist() == [[5, 7], [13, 15]]


@pytest.mark.parametrize("shape", [(3, 2), (1, 1), (7, 9)])
def test_bytes_in_memory(shape: tuple[int, int]) -> None:
    window = Window(0, 0, 7, 9)
    grid = ThumbnailGrid(window, shape, (0, 1, 2))
    thumbnail = Thumbnail(grid, window, "int16")
    assert grid.nbytes("int16") == thumbnail.values.nbytes + thumbnail.valid.nbytes
