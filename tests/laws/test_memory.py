"""Peak memory stays within the Plan and does not grow with the height: in real processes, as users start them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

TILES = 8 * 25
"""Of 64 px with a quarter of overlap: what is computed of each source, however high it is."""
NOISE = np.random.default_rng(0).normal(128, 40, (8, 256, 256))


def raster(path: Path, parts: int) -> tuple[Path, list[str]]:
    """Write bands of noise, 256 rows each, between bands of nodata."""
    path = path.with_suffix(".tif")
    profile = {"driver": "GTiff", "count": 3, "height": 256 * parts, "width": 256, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 0, 0, -0.5, 0)}
    with rasterio.open(path, "w", **profile, **place, nodata=0, compress="deflate", tiled=True) as dataset:
        for number, noise in enumerate(NOISE):
            window = Window(0, number * (parts // 8) * 256, 256, 256)
            dataset.write(np.repeat(noise[None].clip(1, 255).astype(np.uint8), 3, axis=0), window=window)
    return path, []


def stack(path: Path, parts: int) -> tuple[Path, list[str]]:
    """Write the first two bands of such a raster, and a third with pixels four times as large."""
    fine, words = raster(path, parts)
    with rasterio.open(fine) as dataset:
        profile = {**dataset.profile, "count": 1, "height": 64 * parts, "width": 64}
        profile["transform"] = dataset.transform @ Affine.scale(4)
        with rasterio.open(path.with_suffix(".coarse.tif"), "w", **profile) as coarse:
            for row in range(0, 64 * parts, 64 * (parts // 8)):
                values = dataset.read(3, window=Window(0, 4 * row, 256, 256))[::4, ::4]
                coarse.write(values, 1, window=Window(0, row, 64, 64))
    members = "".join(f"  - {{file: {fine.name}, band: {band}}}\n" for band in (1, 2))
    path.with_suffix(".yaml").write_text(
        f"members:\n{members}  - file: {path.with_suffix('.coarse.tif').name}\n"
    )
    return path.with_suffix(".yaml"), words


def ground(path: Path, parts: int) -> tuple[Path, list[str]]:
    """Write the same raster, which is resampled, with the result on its own grid."""
    path, _ = raster(path, parts)
    return path, ["--resolution", "0.45"]


def slide(path: Path, parts: int) -> tuple[Path, list[str]]:
    """Write pieces of noise in the colour of a stain, on white."""
    path = path.with_suffix(".tif")
    picture = np.full((256 * parts, 256, 3), 255, np.uint8)
    for number, noise in enumerate(NOISE):
        top = number * (parts // 8) * 256
        picture[top : top + 256] = (noise[..., None] / 255 * (170, 90, 160)).clip(0, 200).astype(np.uint8)
    with tifffile.TiffWriter(path) as file:
        settings = {"tile": (256, 256), "compression": "deflate", "photometric": "rgb", "metadata": None}
        file.write(picture, **settings, resolution=(2e4, 2e4), resolutionunit="CENTIMETER")
        small = picture[::16, ::16]
        file.write(small, **settings, subfiletype=1, resolution=(1250, 1250), resolutionunit="CENTIMETER")
    return path, []


def volume(path: Path, parts: int) -> tuple[Path, list[str]]:
    """Write slices of noise between slices of nodata."""
    path = path.with_suffix(".nii.gz")
    values: NDArray[np.float32] = np.zeros((256, 256, parts), np.float32)
    values[..., :: parts // 8] = NOISE.transpose(1, 2, 0)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path, ["--nodata", "0"]


@pytest.mark.parametrize(
    ("write", "fewest", "most", "value_bytes"),
    # the raster is large enough that GDAL's cache of 64 MiB, which the fewest do not fill, is small beside it
    [
        pytest.param(raster, 8, 1024, 3, marks=pytest.mark.slow),
        pytest.param(raster, 8, 2048, 3, marks=pytest.mark.slow),
        pytest.param(stack, 8, 2048, 2, marks=pytest.mark.slow),
        pytest.param(ground, 8, 1024, 3, marks=pytest.mark.slow),
        pytest.param(slide, 8, 512, 3, marks=pytest.mark.slow),
        pytest.param(volume, 64, 640, 4, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_height(
    write: Callable[[Path, int], tuple[Path, list[str]]],
    fewest: int,
    most: int,
    value_bytes: int,
    command: Callable[..., list[str]],
    small_model: Path,
    grey_model: Path,
    tmp_path: Path,
) -> None:
    def peak(parts: int, turn: int) -> int:
        path, words = write(tmp_path / f"source-{parts}-{turn}", parts)
        model = grey_model if write is volume else small_model
        fixed = ("--precision", "fp32", "--backend", "torch", "--batch", "8", "--json", *words)
        out = str(tmp_path / f"{parts}-{turn}")
        done = subprocess.run(
            command("run", str(path), "--model", str(model), "--out", out, *fixed),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["tiles"]["computed"] >= TILES
        assert report["memory"]["peak_bytes"] <= report["memory"]["planned_bytes"]
        return int(report["memory"]["peak_bytes"])

    # what threads and the allocator add differs from run to run, and only ever adds: the least of some runs counts.
    # What is held of a source would be there in every one.
    held = most * 256 * 256 * value_bytes
    allowed = held / 3
    low, high = peak(fewest, 0), peak(most, 0)
    for turn in (1, 2, 3):
        if high - low < allowed:
            break
        high = min(high, peak(most, turn))
    assert high - low < allowed, "held whole it would be once or twice its bytes"
