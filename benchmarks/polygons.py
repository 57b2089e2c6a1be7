"""Polygons of a large mask: segment-tiles beside rasterio.features.shapes + GeoPandas, in one run.

Each side runs in its own subprocess; its peak memory is the largest sum over its process and all of
its children, sampled every 50 ms as proportional set size (shared pages counted once).

    python benchmarks/polygons.py                       8192 x 8192, both sides
    python benchmarks/polygons.py --side 32768 --growth segment-tiles alone, against its 8192 run
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import rasterio
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

CLASSES = 5
NODATA = 255
STRIP = 1024
MAP_SEED = 7


def write_mask(path: Path, side: int, radius: float) -> None:
    """Write a land-cover-like mask strip by strip: the highest of five smooth noise fields wins."""
    repeat = 4096
    generator = np.random.default_rng(MAP_SEED)
    fields = [
        gaussian_filter(generator.standard_normal((repeat, repeat), dtype=np.float32), radius, mode="wrap")
        for _ in range(CLASSES)
    ]
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8", nodata=NODATA,
        crs="EPSG:32632", transform=rasterio.Affine(1, 0, 500_000, 0, -1, 5_000_000), tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", bigtiff="if_safer",
    ) as raster:  # fmt: skip
        for row in range(0, side, STRIP):
            for column in range(0, side, repeat):
                # each repeat of the noise is combined with other shifts, so that no square is a copy
                shift = (row // repeat) * 7919 + (column // repeat) * 104_729
                width, height = min(repeat, side - column), min(STRIP, side - row)
                strips = [
                    np.roll(field, shift * (k + 1), axis=1)[row % repeat : row % repeat + height, :width]
                    for k, field in enumerate(fields)
                ]
                codes = np.argmax(np.stack(strips), axis=0).astype(np.uint8)
                raster.write(codes, 1, window=Window(column, row, width, height))


def run_peer(mask: Path, out: Path) -> None:
    """The usual way: the whole array, features as dictionaries, one GeoDataFrame."""
    import geopandas  # noqa: PLC0415 - each side loads only what it uses
    from rasterio.features import shapes  # noqa: PLC0415 - each side loads only what it uses

    with rasterio.open(mask) as raster:
        codes = raster.read(1)
        found = [
            {"type": "Feature", "properties": {"class_code": int(code)}, "geometry": geometry}
            for geometry, code in shapes(codes, mask=codes != NODATA, transform=raster.transform)
        ]
        frame = geopandas.GeoDataFrame.from_features(found, crs=raster.crs)
    frame.to_parquet(out)


def run_ours(mask: Path, out: Path, workers: int) -> None:
    """segment-tiles, with all its attributes."""
    from segment_tiles.workflows.polygonize import polygonize  # noqa: PLC0415 - each side loads only what it uses

    polygonize(mask, [out], workers=workers)


def measured(arguments: list[str]) -> tuple[float, float]:
    """Run this script as a subprocess; return seconds and peak MiB of its process tree."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(f"{arguments} failed with status {process.returncode}")
    return time.monotonic() - started, peak / 2**20


def tree_memory(pid: int) -> int:
    """Return the proportional set size of a process and all of its descendants."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            continue  # it ended between the two calls
    return total


def count(path: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415 - each side loads only what it uses

    return int(pq.read_metadata(path).num_rows)


def compare(folder: Path, side: int, radius: float, workers: int) -> dict[str, object]:
    """Both sides on one mask."""
    mask, ours, peer = folder / f"mask-{side}.tif", folder / "ours.parquet", folder / "peer.parquet"
    write_mask(mask, side, radius)
    our_seconds, our_memory = measured(["--as", "ours", str(mask), str(ours), "--workers", str(workers)])
    peer_seconds, peer_memory = measured(["--as", "peer", str(mask), str(peer)])
    if count(ours) != count(peer):
        raise SystemExit(f"{count(ours)} features here and {count(peer)} there")
    return {
        "side": side, "features": count(ours), "workers": workers,
        "ours": {"seconds": round(our_seconds, 2), "peak_mib": round(our_memory)},
        "peer": {"seconds": round(peer_seconds, 2), "peak_mib": round(peer_memory)},
        "time_ratio": round(our_seconds / peer_seconds, 3),
        "memory_ratio": round(our_memory / peer_memory, 3),
    }  # fmt: skip


def growth(folder: Path, side: int, radius: float, workers: int) -> dict[str, object]:
    """segment-tiles on a quarter of the side and on the side: how memory grows."""
    rows = []
    for length in (side // 4, side):
        mask, out = folder / f"mask-{length}.tif", folder / f"ours-{length}.parquet"
        write_mask(mask, length, radius)
        seconds, memory = measured(["--as", "ours", str(mask), str(out), "--workers", str(workers)])
        rows.append(
            {"side": length, "features": count(out), "seconds": round(seconds, 1), "peak_mib": round(memory)}
        )
    return {
        "workers": workers,
        "runs": rows,
        "memory_growth": round(rows[1]["peak_mib"] / rows[0]["peak_mib"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--as", dest="role", choices=["ours", "peer"])
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--radius", type=float, default=10.0, help="of the smoothing, in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    if arguments.role == "ours":
        run_ours(*arguments.files, arguments.workers)
        return
    if arguments.role == "peer":
        run_peer(*arguments.files)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        side_by_side = growth if arguments.growth else compare
        print(
            json.dumps(
                side_by_side(Path(name), arguments.side, arguments.radius, arguments.workers), indent=1
            )
        )


if __name__ == "__main__":
    main()
