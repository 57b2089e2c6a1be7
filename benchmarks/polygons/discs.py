"""Objects of a large made mask: discs that touch, equal to a whole-array reference; memory at several heights.

Discs lie on a jittered grid, each in a rim of the border class, so that neighbours meet in it. The reference labels the
whole array with SciPy, takes its exact distances, and looks at every pixel at the distance of the nearest seed: the
lowest label wins. It takes some GiB.

    python -m benchmarks.polygons.discs                      20 000 x 20 000: a million discs, and memory at a quarter
    python -m benchmarks.polygons.discs --side 2000          a quick look
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import scipy.ndimage
from rasterio.windows import Window

from benchmarks.polygons.peers import INTERVAL, environment, sample
from benchmarks.shared.commands import PROGRAM, arguments_of

STEP = 20
"""Pixels from disc to disc."""
SEED, RIM, REACH = 6.5, 11.0, 5
"""Radius of the seeds and of their rims, and the reach, in pixels."""
STRIP = 1000


def write_discs(path: Path, height: int, width: int) -> None:
    """Write the mask: 0 is background, 1 a disc, 2 its border; each strip is the first one, turned by some cells."""
    strip = _strip(width)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=255,
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", bigtiff="if_safer",
        crs="EPSG:32632", transform=rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000),
    ) as raster:  # fmt: skip
        for number, top in enumerate(range(0, height, STRIP)):
            rows = min(STRIP, height - top)
            codes = np.roll(strip, number * 7 * STEP, axis=1)[:rows]
            raster.write(codes, 1, window=Window(0, top, width, rows))


def _strip(width: int) -> np.ndarray:
    rows, columns = np.arange(STRIP)[:, None], np.arange(width)
    shifts = np.random.default_rng(3).integers(-2, 3, (2, STRIP // STEP, width // STEP))
    distance = np.full((STRIP, width), np.inf, dtype=np.float32)
    # the nearest middle of the cell of a pixel and of those around it; no disc leaves its cell
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        row = np.clip(rows // STEP + down, 0, STRIP // STEP - 1)
        column = np.clip(columns // STEP + right, 0, width // STEP - 1)
        y = row * STEP + STEP // 2 + shifts[0][row, column]
        x = column * STEP + STEP // 2 + shifts[1][row, column]
        np.minimum(distance, np.hypot(rows - y, columns - x), out=distance)
    return np.where(distance <= SEED, 1, np.where(distance <= RIM, 2, 0)).astype(np.uint8)


def reference(codes: np.ndarray) -> np.ndarray:
    """Return the number of the object of each pixel, 0: none."""
    labels, _ = scipy.ndimage.label(codes == 1)
    result = labels.copy()
    around = range(-REACH, REACH + 1)
    offsets: dict[int, list[tuple[int, int]]] = {}
    for y, x in itertools.product(around, repeat=2):
        if 0 < y * y + x * x <= REACH * REACH:
            offsets.setdefault(y * y + x * x, []).append((y, x))
    for top in range(0, len(codes), STRIP):
        first, stop = max(0, top - REACH), min(len(codes), top + STRIP + REACH)
        here = np.pad(labels[first:stop], REACH)
        squares = np.rint(scipy.ndimage.distance_transform_edt(here == 0) ** 2).astype(np.int32)
        rows, columns = np.nonzero(codes[top : top + STRIP] == 2)
        inner, beside = rows + top - first + REACH, columns + REACH
        for square, steps in offsets.items():
            chosen = np.flatnonzero(squares[inner, beside] == square)
            found = [here[inner[chosen] + y, beside[chosen] + x] for y, x in steps]
            lowest = np.min([np.where(f > 0, f, np.iinfo(np.int32).max) for f in found], axis=0)
            result[rows[chosen] + top, columns[chosen]] = lowest
    return result


def measured(folder: Path, mask: Path, workers: int) -> dict[str, float]:
    """Make objects in a process of their own; return its seconds and peak MiB, children included."""
    started = time.monotonic()
    command = [PROGRAM, "polygonize", str(mask), "--quiet"]
    command += ["--objects", f"1:2:{REACH}", "--background", "0", "--workers", str(workers)]
    for ending in ("objects.parquet", "labels.tif"):
        command += ["--out", str(folder / f"discs.{ending}")]
    process = subprocess.Popen(command, env=environment(folder))
    peak, processor = 0, dict[int, float]()
    while process.poll() is None:
        peak = max(peak, sample(process.pid, processor))
        time.sleep(INTERVAL)
    if process.returncode != 0:
        raise SystemExit(f"{command} failed with status {process.returncode}")
    return {"seconds": round(time.monotonic() - started, 1), "peak_mib": round(peak / 2**20)}


def main() -> None:
    """Print one JSON document."""
    parser = arguments_of(__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = asked.side
        results: dict[str, object] = {"side": side, "workers": asked.workers}
        mask = folder / "discs.tif"
        for height in (side // 4, side):
            write_discs(mask, height, side)
            results[f"{height} rows"] = measured(folder, mask, asked.workers)
            print(results, file=sys.stderr)
        with rasterio.open(folder / "discs.labels.tif") as labels:
            found = labels.read(1)
        results["objects"] = int(found.max())
        with rasterio.open(mask) as raster:
            wanted = reference(raster.read(1))
        results["pixels that differ from the reference"] = int(np.count_nonzero(found != wanted))
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
