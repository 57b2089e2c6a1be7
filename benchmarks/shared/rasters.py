"""Rasters of any size for the benchmarks: the scene that ships with the program, whole, in crops or mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from segment_tiles.workflows.demo import DEMO_SCENE

SIDE = 256
"""Of the tiles of a mirrored GeoTIFF, in pixels."""


def mirrored_scene(path: Path, side: int) -> Path:
    """Mirror the scene to ``side`` x ``side`` pixels: RGB, deflate in tiles of 256 px, no overviews."""
    with rasterio.open(DEMO_SCENE) as dataset:
        scene, profile = dataset.read(), dataset.profile
    period = np.concatenate([scene, scene[:, :, ::-1]], axis=2)
    period = np.concatenate([period, period[:, ::-1]], axis=1)
    columns = np.arange(side) % period.shape[2]
    profile.update(
        driver="GTiff", width=side, height=side, compress="deflate", tiled=True, blockxsize=SIDE,
        blockysize=SIDE, interleave="pixel", bigtiff="if_safer",
    )  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, side, SIDE):  # some rows at a time: the raster may be larger than memory
            rows = np.arange(row, min(row + SIDE, side)) % period.shape[1]
            dataset.write(period[:, rows][:, :, columns], window=Window(0, row, side, len(rows)))
    return path


def smooth_scene(path: Path, side: int) -> Path:
    """Write random squares of 128 px, ``side`` x ``side`` pixels, which compress to next to nothing."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, side // 128 + 1, side // 128 + 1), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.1, 0, 400000, 0, -0.1, 5600000), tiled=True, blockxsize=512,
        blockysize=512, compress="deflate", zlevel=1, bigtiff="if_safer",
    ) as dataset:  # fmt: skip
        for top in range(0, side, 512):
            rows = coarse[:, top // 128 : top // 128 + 4].repeat(128, axis=1).repeat(128, axis=2)[:, :, :side]
            dataset.write(rows, window=Window(0, top, side, 512))
    return path


def crop_of_scene(path: Path, window: Window) -> Path:
    """Write a window of the scene as a GeoTIFF of its own."""
    with rasterio.open(DEMO_SCENE) as source:
        profile = {
            **source.profile, "width": window.width, "height": window.height,
            "transform": source.window_transform(window),
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as target:
            target.write(source.read(window=window))
    return path


def size_of_scene() -> tuple[int, int]:
    """Return height and width of the scene, in pixels."""
    with rasterio.open(DEMO_SCENE) as source:
        return source.height, source.width
