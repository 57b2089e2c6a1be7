"""What a pyramid takes to be resampled is bounded and known, however far its next finer Level is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.view import View

SIDE = 1000


def write(folder: Path, bands: int, dtype: str) -> str:
    values = np.random.default_rng(0).integers(0, 5, (bands, SIDE, SIDE)).astype(dtype)
    zarr.create_array(folder / "a.zarr", data=values, chunks=(bands, 512, 512))
    return str(folder / "a.zarr")


@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint8"), (1, "uint16"), (4, "float32")])
def test_a_read_takes_no_more_than_it_says(bands: int, dtype: str, tmp_path: Path) -> None:
    name = write(tmp_path, bands, dtype)
    for factor in (0.5, 8, 500):
        source = open_source(name, nodata=0, view=View(mpp=factor, source_mpp=1.0), cache_mib=64)
        window = source.spec.window.intersect(Window(0, 0, 600, 600))
        source.read(window)  # the chunks are decoded from now on, which the cache counts
        tracemalloc.start()
        values = source.read(window)
        taken = tracemalloc.get_traced_memory()[1] - values.nbytes - 2 * window.area
        tracemalloc.stop()
        source.close()
        assert 0.1 * source.spec.work_bytes < taken < source.spec.work_bytes, factor


def test_what_is_not_resampled_takes_nothing_and_more_than_a_thousand_times_is_refused(
    tmp_path: Path,
) -> None:
    name = write(tmp_path, 1, "uint8")
    source = open_source(name, view=View(source_mpp=0.5))
    assert source.spec.work_bytes == 0
    source.close()
    with pytest.raises(SourceError, match=r"shrunk 1,100 times from level 0 .*; up to 1000 times.*--mpp"):
        open_source(name, view=View(mpp=1100.0, source_mpp=1.0))
