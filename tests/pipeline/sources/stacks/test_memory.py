"""What a stack takes beside its result is bounded, whatever the sizes of pixels are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.stacks.description import Member, MemberResampling, StackDescription

SIDE = 2400


def write(path: Path, pixels: int, size: float, nodata: float | None = None) -> str:
    rng = np.random.default_rng(pixels)
    values = rng.integers(0, 50, (1, pixels, pixels), dtype=np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=pixels, width=pixels, dtype="uint16", crs="EPSG:32633",
        transform=Affine(size, 0, 600_000, 0, -size, 5_000_000), tiled=True, nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return str(path)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("times", [6, 100, 1 / 4])
def test_what_is_resampled_at_once_is_bounded(method: MemberResampling, times: float, tmp_path: Path) -> None:
    """tracemalloc sees the arrays of NumPy, and not what GDAL keeps."""
    pixels = SIDE if times > 1 else SIDE // 4
    grid = write(tmp_path / "grid.tif", int(pixels / times), 10 * times)
    file = write(tmp_path / "file.tif", pixels, 10, 0)
    source = open_source(
        StackDescription((Member((grid,), name="g"), Member((file,), resampling=method)), "g").text()
    )
    source.read(source.spec.window)  # what is kept from now on is no part of it
    out_bytes = 4 * source.spec.window.area
    tracemalloc.start()
    source.read(source.spec.window)
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    source.close()
    # the result, and what one part of it has: values, their mask, and what is filled
    assert largest < 3 * out_bytes + source.spec.work_bytes
    if method == "nearest":
        assert largest < 3 * out_bytes + 2 * 2**20


def test_pixels_that_are_far_too_small_are_refused(tmp_path: Path) -> None:
    grid, file = write(tmp_path / "grid.tif", 4, 1010), write(tmp_path / "file.tif", 404, 10)
    with pytest.raises(
        SourceError,
        match=r"file.tif: has pixels 101 times smaller than those of .*up to 100 times .*--grid-of",
    ):
        open_source(StackDescription((Member((grid,), name="g"), Member((file,))), "g").text())
