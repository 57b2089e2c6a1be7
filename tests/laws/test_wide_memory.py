"""Stacks, resampled and warped rasters 8192 pixels wide stay within their Plan, in real processes."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.warp import transform_bounds
from rasterio.windows import Window

WIDTH, HEIGHT = 8192, 2048
SEEN = 160
"""Rows with data in the middle; what else there is holds none, so that the run is short."""
UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def write(
    path: Path, bands: int, shape: tuple[int, int], transform: Affine | None, crs: str | None, **more: Any
) -> Path:
    """Write noise in some rows in the middle, and nodata."""
    height, width = shape
    seen = SEEN * height // HEIGHT
    noise = np.random.default_rng(0).integers(1, 255, (bands, seen, width), dtype=np.uint8)
    placed = {} if transform is None else {"transform": transform, "crs": crs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=bands, height=height, width=width, dtype="uint8", nodata=0, tiled=True,
            compress="deflate", zlevel=1, sparse_ok=True, **placed, **more,
        ) as dataset:  # fmt: skip
            dataset.write(noise, window=Window(0, height // 2, width, seen))
    return path


def stack(folder: Path) -> list[str]:
    files = [
        write(
            folder / f"{times}.tif",
            1,
            (HEIGHT // times, WIDTH // times),
            UTM @ Affine.scale(times),
            "EPSG:32633",
        )
        for times in (1, 2, 6)
    ]
    return [",".join(map(str, files))]


def ground(folder: Path) -> list[str]:
    path = write(folder / "a.tif", 3, (HEIGHT, WIDTH), UTM, "EPSG:32633")
    return [str(path), "--resolution", "8"]


def several_crs(folder: Path) -> list[str]:
    own = write(folder / "own.tif", 1, (HEIGHT, WIDTH), UTM, "EPSG:32633")
    west, south, east, north = transform_bounds(
        "EPSG:32633", "EPSG:4326", 500_000, 4_979_520, 581_920, 5_000_000
    )
    steps = [(east - west) / n for n in (WIDTH, WIDTH // 3)]
    others = [
        write(folder / f"{n}.tif", 1, (round((north - south) / step), round((east - west) / step)),
              Affine(step, 0, west, 0, -step, north), "EPSG:4326")
        for n, step in enumerate(steps)
    ]  # fmt: skip
    return [",".join(map(str, (own, *others))), "--grid-of", "own"]


def sensor(folder: Path) -> list[str]:
    path = write(folder / "a.tif", 3, (HEIGHT, WIDTH), None, None)
    terms = {"line": {2: -0.97, 1: 0.01, 3: 0.02}, "samp": {1: 0.96, 2: 0.13, 3: 0.05}}
    found = {name: [some.get(n, 0.0) for n in range(20)] for name, some in terms.items()}
    one = [1.0, *[0.0] * 19]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as dataset:
            dataset.rpcs = RPC(
                height_off=500, height_scale=500, lat_off=45, lat_scale=0.01, long_off=10, long_scale=0.055,
                line_off=HEIGHT / 2, line_scale=HEIGHT / 2, line_num_coeff=found["line"], line_den_coeff=one,
                samp_off=WIDTH / 2, samp_scale=WIDTH / 2, samp_num_coeff=found["samp"], samp_den_coeff=one,
            )  # fmt: skip
    heights = 500 + 300 * np.sin(np.arange(900)[:, np.newaxis] / 40) * np.cos(np.arange(900) / 50)
    with rasterio.open(
        folder / "dem.tif", "w", driver="GTiff", count=1, height=900, width=900, dtype="float32", crs="EPSG:4326",
        transform=Affine(0.15 / 900, 0, 9.925, 0, -0.12 / 900, 45.06),
    ) as dataset:  # fmt: skip
        dataset.write(heights.astype("float32"), 1)
    return [str(path), "--rpc-dem", str(folder / "dem.tif"), "--resolution", "native"]


@pytest.mark.slow
@pytest.mark.parametrize("source", [stack, ground, several_crs, sensor])
def test_a_wide_source_stays_within_its_plan(
    source: Callable[[Path], list[str]], command: Callable[..., list[str]], small_model: Path, tmp_path: Path
) -> None:
    words = source(tmp_path)
    fixed = ("--precision", "fp32", "--backend", "torch", "--batch", "8", "--format", "zarr", "--json")
    done = subprocess.run(
        command("run", *words, "--model", str(small_model), "--out", str(tmp_path / "out"), *fixed),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    peak, planned = report["memory"]["peak_bytes"], report["memory"]["planned_bytes"]
    print(  # noqa: T201 - shown by pytest -s
        f"{source.__name__}: {peak / 1e6:.0f} of {planned / 1e6:.0f} MB, {report['tiles']['computed']} tiles"
    )
    assert report["tiles"]["computed"] > 500
    assert peak <= planned
