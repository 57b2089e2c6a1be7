"""Maps of pictures written at twice and at half of the pixel size: how many decided pixels get the same class.

    python -m benchmarks.accuracy.pixel_sizes --data ../shared/data/aerial [--model canopy-rgb]

Crops of 0.1 m are written by GDAL at 0.05 m (bilinear) and at 0.2 m (average), and each is mapped. Its map is compared
with that of the crop, on its own grid: the share of pixels that have the same class, of those whose probabilities
differ by 0.1 or more in both. "yellowstone" is the crop of ``tests/laws/test_aerial_pixel_size.py``. Only "held-out"
lies in what the recipe of ``canopy-rgb`` is not trained on.

The last lines have the canopy IoU of that quarter, written by GDAL at 0.2 and 0.4 m (average), its map brought back to
0.1 m. At 0.1 m it may differ a little from a training's report, for the quarter is mapped alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

import segment_tiles as st
from benchmarks.accuracy.canopy_training import RECIPE
from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.grid.window import Window as Area
from segment_tiles.pipeline.learning.data.opening import open_scenes
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.training.config import read_training_config

CROPS = {
    "yellowstone": ("yellowstone.tif", Window(600, 600, 1024, 1024)),
    "yellowstone, held-out": ("yellowstone.tif", Window(1150, 1236, 1024, 1024)),
    "soaproot": ("soaproot_061.tif", Window(0, 0, 400, 400)),
    "ordway": ("ordway_029.tif", Window(0, 0, 400, 400)),
}
"""File, and columns and rows of the crop."""
METRES = 0.1
DECIDED = round(255 * 0.55)
"""Confidence of two classes whose probabilities differ by 0.1."""
COARSER = (1, 2, 4)
"""How many pixels of 0.1 m one pixel is wide, for the IoU."""
NEAREST = slice(1, None, 2), slice(1, None, 2)
"""Of four pixels the one that is nearest to their middle: GDAL and `GridMap` take the last one."""


@dataclass(frozen=True)
class Picture:
    """A crop, with the corner and CRS of its scene."""

    values: NDArray[np.uint8]
    corner: Any
    crs: Any

    def at(self, metres: float, how: Resampling) -> NDArray[np.uint8]:
        """Return what GDAL makes of it at another size of the pixels."""
        height, width = (round(side * METRES / metres) for side in self.values.shape[1:])
        found = np.zeros((3, height, width), np.uint8)
        reproject(
            self.values, found, src_transform=self.corner, src_crs=self.crs, dst_crs=self.crs, resampling=how,
            dst_transform=self.corner @ rasterio.Affine.scale(metres / METRES),
        )  # fmt: skip
        return found


def read(path: Path, window: Window) -> Picture:
    """Return a crop of a file."""
    with rasterio.open(path) as dataset:
        return Picture(dataset.read(window=window), dataset.window_transform(window), dataset.crs)


def mapped(
    picture: Picture, pixels: NDArray[np.uint8], metres: float, model: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return codes and confidence on the grid of these pixels."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "picture.tif")
        profile = {"height": pixels.shape[1], "width": pixels.shape[2], "count": 3, "dtype": "uint8"}
        transform = picture.corner @ rasterio.Affine.scale(metres / METRES)
        with rasterio.open(
            path, "w", driver="GTiff", crs=picture.crs, transform=transform, **profile
        ) as file:
            file.write(pixels)
        st.segment(
            path,
            model=model,
            out=Path(name, "out"),
            device="cpu",
            precision="fp32",
            format=["zarr"],
            preview=False,
        )
        group: Any = open_store(Path(name, "out", "classes.zarr"))
        return np.asarray(group["classes"]), np.asarray(group["confidence"])


def agreement(one: tuple[NDArray[Any], NDArray[Any]], other: tuple[NDArray[Any], NDArray[Any]]) -> float:
    """Return the share of pixels decided in both that have the same class."""
    decided = (one[1] >= DECIDED) & (other[1] >= DECIDED)
    return float((one[0] == other[0])[decided].mean())


def held_out_quarter(data: Path) -> tuple[Picture, NDArray[np.uint8]]:
    """Return what the recipe holds out, and its labels; at most three rows and columns less, so that pixels merge."""
    scene = next(scene for scene in open_scenes(read_training_config(RECIPE), data) if scene.held_out)
    at = scene.held_out[0]
    height, width = (side - side % max(COARSER) for side in (at.height, at.width))
    labels = scene.labels.read(Area(at.row, at.column, height, width))
    return read(data / scene.settings.raster, Window(at.column, at.row, width, height)), labels


def canopy_iou(codes: NDArray[Any], labels: NDArray[np.uint8]) -> float:
    """Return the IoU of code 1 where there are labels."""
    canopy, known = labels == 1, labels != IGNORE_CODE
    found = (codes == 1) & known
    return float((found & canopy).sum() / (found | canopy).sum())


def main() -> None:
    """Print a line for each crop, and one for the IoU."""
    parser = arguments_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="canopy-rgb")
    options = parser.parse_args()
    print(f"{'crop':>22} {'0.05 m':>7} {'0.2 m':>7}")
    for name, (file, window) in CROPS.items():
        picture = read(options.data / file, window)
        own = mapped(picture, picture.values, METRES, options.model)
        fine = mapped(picture, picture.at(METRES / 2, Resampling.bilinear), METRES / 2, options.model)
        coarse = mapped(picture, picture.at(METRES * 2, Resampling.average), METRES * 2, options.model)
        codes, confidence = own
        finer = codes.repeat(2, 0).repeat(2, 1), confidence.repeat(2, 0).repeat(2, 1)
        of_fine, of_coarse = (
            agreement(finer, fine),
            agreement((codes[NEAREST], confidence[NEAREST]), coarse),
        )
        print(f"{name:>22} {of_fine:>7.1%} {of_coarse:>7.1%}", flush=True)
    picture, labels = held_out_quarter(options.data)
    for times in COARSER:
        pixels = picture.at(METRES * times, Resampling.average)
        codes, _ = mapped(picture, pixels, METRES * times, options.model)
        iou = canopy_iou(codes.repeat(times, 0).repeat(times, 1), labels)
        print(f"canopy IoU, held-out, {METRES * times:.1f} m: {iou:.3f}", flush=True)


if __name__ == "__main__":
    main()
