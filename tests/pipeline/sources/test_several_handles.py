"""Several handles of one raster: the values of one, whatever the window and the layout of the file."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import ReadFailedError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.rasters import raster_file
from segment_tiles.pipeline.sources.rasters.several_handles import SeveralHandles
from segment_tiles.pipeline.sources.window_parts import parts_of

LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 32},
    "strips": {"blockysize": 5},
}


def write(path: Path, layout: dict[str, Any]) -> Path:
    values = np.random.default_rng(0).integers(0, 4, (2, 90, 130), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=90, width=130, dtype="uint8", nodata=0, crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 100, 0, -0.5, 900), compress="deflate", **layout,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@given(
    st.builds(Window, st.integers(0, 40), st.integers(0, 60), st.integers(1, 50), st.integers(1, 70)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 6),
)
def test_parts_cover_a_window_once_and_meet_at_edges_of_chunks(
    window: Window, chunk: tuple[int, int], count: int
) -> None:
    parts = parts_of(window, chunk, count)
    assert 1 <= len(parts) <= count
    assert sum(part.area for part in parts) == window.area
    for part, following in pairwise(parts):
        assert not part.is_empty
        if part.row_stop == following.row:
            assert following.row % chunk[0] == 0
        else:
            assert part.column_stop == following.column
            assert following.column % chunk[1] == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("window", [Window(0, 0, 90, 130), Window(7, 11, 50, 97), Window(3, 2, 1, 1)])
def test_values_and_masks_are_those_of_one_handle(tmp_path: Path, layout: str, window: Window) -> None:
    path = str(write(tmp_path / "a.tif", LAYOUTS[layout]))
    with (
        closing(open_source(path)) as one,
        closing(SeveralHandles([open_source(path) for _ in range(3)])) as several,
    ):
        assert several.spec == one.spec
        expected = one.read(window)
        values = several.read(window)
        np.testing.assert_array_equal(values, expected)
        mask, expected_mask = several.valid(window, values), one.valid(window, expected)
        assert expected_mask is not None or window.area == 1
        np.testing.assert_array_equal(
            True if mask is None else mask, True if expected_mask is None else expected_mask
        )
        assert several.is_surely_empty(window) is False
        thumbnail, _ = several.thumbnail(window, (1, 1))
        np.testing.assert_array_equal(thumbnail, one.thumbnail(window, (1, 1))[0])


def test_a_part_that_cannot_be_read_fails_the_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0)
    path = write(tmp_path / "a.tif", LAYOUTS["tiles"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])  # which `open_source` refuses
    handles = [raster_file.RasterFile(str(path)) for _ in range(3)]
    with (
        closing(SeveralHandles(handles)) as several,
        pytest.raises(ReadFailedError, match="cannot be read, tried 3 times"),
    ):
        several.read(Window(0, 0, 90, 130))
