"""Input bands: reflection as numpy does it, and rows carried from band to band."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader, reflected
from segment_tiles.pipeline.sources.array import ArraySource


@given(st.integers(1, 30), st.integers(1, 12))
def test_reflected_is_numpys_reflection(length: int, size: int) -> None:
    kept = min(length, size)
    expected = np.pad(np.arange(size), (0, max(0, length - size)), mode="reflect")[:length]
    np.testing.assert_array_equal(reflected(length, size), expected)
    assert (reflected(length, size)[:kept] == np.arange(kept)).all()


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([(16, 0), (16, 4), (16, 12)]))
def test_bands_hold_the_pixels_of_their_tiles(height: int, width: int, sides: tuple[int, int]) -> None:
    lattice = Lattice(height, width, *sides)
    values = np.random.default_rng(0).integers(0, 255, (2, height, width), dtype=np.uint8)
    valid = np.random.default_rng(1).random((height, width)) < 0.8
    reader = BandReader(ArraySource(values, valid=valid), lattice, Window(0, 0, height, width))
    for band in reader.read_ahead():
        assert band.values is not None
        for column_index in reader.column_indices:
            read = lattice.tile_at(band.row_index, column_index).read
            own = read.intersect(Window(0, 0, height, width))
            extra = ((0, read.height - own.height), (0, read.width - own.width))
            span = slice(read.column, read.column_stop)
            expected = np.pad(values[:, *own.slices()], ((0, 0), *extra), mode="reflect")
            np.testing.assert_array_equal(band.values[:, :, span], expected)
            mask = np.pad(valid[own.slices()], extra, mode="reflect")
            seen = np.ones_like(mask) if band.valid is None else band.valid[:, span]
            np.testing.assert_array_equal(seen, mask)
            wanted = np.pad(valid[own.slices()], extra, constant_values=False)
            assert band.is_wanted(span.start, lattice.tile) == wanted.any()
