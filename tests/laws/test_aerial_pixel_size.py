"""A real picture written at other pixel sizes: the bundled model gives it the same map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from segment_tiles.pipeline.grid.grid_map import AxisMap
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

SIDE = 1024
DECIDED = round(255 * 0.55)
"""Confidence of two classes whose probabilities differ by 0.1."""
NEAREST = slice(1, None, 2), slice(1, None, 2)
"""Of four pixels the one that is nearest to their middle: GDAL and `GridMap` take the last one."""


@pytest.fixture(scope="module")
def picture(shared_data: Path) -> tuple[NDArray[np.uint8], Any, Any]:
    """A crop of 0.1 m, its transform and its CRS."""
    window = Window(600, 600, SIDE, SIDE)
    with rasterio.open(shared_data / "aerial" / "yellowstone.tif") as dataset:
        return dataset.read(window=window), dataset.window_transform(window), dataset.crs


def written(
    values: NDArray[np.uint8], corner: Any, crs: Any, size: float, how: Resampling
) -> NDArray[np.uint8]:
    """Return what GDAL makes of values of 0.1 m at another size."""
    side = round(values.shape[1] * 0.1 / size)
    found = np.zeros((3, side, side), np.uint8)
    reproject(
        values, found, src_transform=corner, src_crs=crs, dst_crs=crs, resampling=how,
        dst_transform=corner @ rasterio.Affine.scale(size / 0.1),
    )  # fmt: skip
    return found


def test_the_pixel_that_is_compared_is_the_one_that_gdal_and_a_run_take() -> None:
    fine = np.arange(64, dtype=np.uint8).reshape(8, 8)
    coarse, corner = np.zeros((4, 4), np.uint8), rasterio.Affine(0.1, 0, 0, 0, -0.1, 10)
    reproject(
        fine, coarse, src_transform=corner, src_crs="EPSG:32633", dst_crs="EPSG:32633",
        dst_transform=corner @ rasterio.Affine.scale(2), resampling=Resampling.nearest,
    )  # fmt: skip
    taken = AxisMap(size=4, computed=8, factor=0.5).indices(0, 4)
    assert np.array_equal(coarse, fine[NEAREST])
    assert np.array_equal(coarse, fine[np.ix_(taken, taken)])


@pytest.mark.slow
def test_maps_of_a_picture_written_at_half_and_at_twice_the_size_agree(
    picture: tuple[NDArray[np.uint8], Any, Any], quiet: Any, tmp_path: Path
) -> None:
    """Of a picture of 0.1 m itself, and of one that holds no more than 0.2 m do: a map shows no detail that is gone."""
    values, corner, crs = picture

    def mapped(pixels: NDArray[np.uint8], size: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return codes and confidence on the grid of the raster."""
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tif"
        transform = corner @ rasterio.Affine.scale(size / 0.1)
        profile = {"height": pixels.shape[1], "width": pixels.shape[2], "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as dataset:
            dataset.write(pixels)
        out = path.with_suffix("")
        config = RunConfig(
            str(path), "canopy-rgb", out, device="cpu", precision="fp32", formats=("zarr",), preview=False
        )
        report = segment(config, quiet).report
        assert ("resampled" in report["source"]) == (size != 0.1)
        group = open_store(out / "classes.zarr")
        assert group["classes"].shape == pixels.shape[1:]
        return np.asarray(group["classes"]), np.asarray(group["confidence"])

    def agreement(one: tuple[NDArray[Any], NDArray[Any]], other: tuple[NDArray[Any], NDArray[Any]]) -> float:
        decided = (one[1] >= DECIDED) & (other[1] >= DECIDED)
        assert decided.mean() > 0.9
        share = float((one[0] == other[0])[decided].mean())
        print(f"{share:.1%} of the pixels decided in both maps")  # noqa: T201 - `pytest -s` shows the figures of the docs
        return share

    own = mapped(values, 0.1)
    assert 0.05 < own[0].mean() < 0.95
    half = mapped(written(values, corner, crs, 0.05, Resampling.bilinear), 0.05)
    finer = tuple(part.repeat(2, 0).repeat(2, 1) for part in own)
    assert agreement((finer[0], finer[1]), half) > 0.97

    coarse = written(values, corner, crs, 0.2, Resampling.average)
    twice = mapped(coarse, 0.2)
    middle = tuple(part[NEAREST] for part in own)
    assert agreement((middle[0], middle[1]), twice) > 0.95, "of what 0.2 m still show of 0.1 m"
    smooth = np.zeros_like(values)
    reproject(
        coarse, smooth, src_transform=corner @ rasterio.Affine.scale(2), src_crs=crs, dst_transform=corner,
        dst_crs=crs, resampling=Resampling.bilinear,
    )  # fmt: skip
    as_smooth = tuple(part[NEAREST] for part in mapped(smooth, 0.1))
    assert agreement((as_smooth[0], as_smooth[1]), twice) > 0.99
