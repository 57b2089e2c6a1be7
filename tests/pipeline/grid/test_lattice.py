"""The lattice: owned windows partition the raster, and every pixel is covered by the tiles that say so."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.lattice import Lattice, LatticeAxis, overlap_pixels
from segment_tiles.pipeline.grid.window import Window


@st.composite
def axes(draw: st.DrawFn) -> LatticeAxis:
    tile = draw(st.integers(1, 40))
    overlap = draw(st.integers(0, (tile - 1) // 2)) * 2
    margin = draw(st.sampled_from([0, overlap // 4, overlap // 2]))
    size = draw(st.sampled_from([1, max(1, tile - 1), tile, tile + 1, max(1, overlap // 2), 97, 101]))
    return LatticeAxis(size, tile, overlap, margin)


@given(axes())
def test_owned_intervals_partition_the_side(axis: LatticeAxis) -> None:
    owned = [axis.owned(i) for i in range(axis.count)]
    assert owned[0][0] == 0
    assert owned[-1][1] == axis.size
    assert all(before[1] == after[0] for before, after in itertools.pairwise(owned))
    for index, (first, last) in enumerate(owned):
        assert first < last
        assert axis.start(index) + axis.margin <= first
        assert last <= axis.start(index) + axis.tile - axis.margin


@given(axes(), st.integers(0, 120), st.integers(0, 120))
def test_covering_names_exactly_the_tiles_that_score_a_pixel(axis: LatticeAxis, a: int, b: int) -> None:
    start, stop = min(a, b), min(max(a, b), axis.size)
    assume(start < stop)
    expected = [i for i in range(axis.count) if axis.first(i) < stop and axis.first(i) + axis.scored > start]
    assert list(axis.covering(start, stop)) == expected


@given(axes())
def test_nothing_above_final_stop_is_scored_by_a_later_tile(axis: LatticeAxis) -> None:
    for index in range(axis.count - 1):
        assert all(axis.first(later) >= axis.final_stop(index) for later in range(index + 1, axis.count))
    assert axis.final_stop(axis.count - 1) == axis.size


@given(axes(), axes())
def test_write_windows_partition_the_raster(rows: LatticeAxis, columns: LatticeAxis) -> None:
    lattice = Lattice(rows.size, columns.size, rows.tile, rows.overlap, rows.margin)
    hits = np.zeros((rows.size, columns.size), dtype=int)
    for one in lattice.tiles(Window(0, 0, rows.size, columns.size)):
        hits[one.write.slices()] += 1
        assert one.read.contains(one.scores)
        assert one.scores.contains(one.write)
    assert (hits == 1).all()
    assert lattice.tile_count(Window(0, 0, rows.size, columns.size)) == lattice.count


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "count"),
    [(1, 512, 128, 1), (512, 512, 128, 1), (513, 512, 128, 2), (896, 512, 128, 2), (897, 512, 128, 3)],
)
def test_count_of_tiles(size: int, tile: int, overlap: int, count: int) -> None:
    assert LatticeAxis(size, tile, overlap).count == count


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 8), (8, 3), (8, -2)])
def test_impossible_lattices_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        Lattice(10, 10, tile, overlap)


@given(st.integers(1, 600), st.floats(0, 0.99), st.sampled_from([1, 8, 16, 32]))
def test_overlap_in_pixels_is_even_and_keeps_the_sampling_grid(
    tile: int, fraction: float, alignment: int
) -> None:
    overlap = overlap_pixels(tile, fraction, alignment)
    assert overlap % 2 == 0
    assert 0 <= overlap < max(tile, 1)
    if tile % alignment == 0 and max(2, alignment) < tile and alignment > 1:
        assert (tile - overlap) % alignment == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_overlap_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"--overlap is .* below 1"):
        overlap_pixels(512, fraction)
