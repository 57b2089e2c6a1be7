"""Polygons of a large mask: segment-tiles beside rasterio.features.shapes + GeoPandas, in one run.

Each side runs in its own subprocess; its peak memory is the largest sum over its process and all of
its children, sampled ten times a second as proportional set size (shared pages counted once).

    python -m benchmarks.polygons.peers                       8192 x 8192, both sides
    python -m benchmarks.polygons.peers --side 32768 --growth segment-tiles alone, against its 8192 run
"""

from __future__ import annotations

import json
import os
import statistics
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

from benchmarks.shared.commands import arguments_of

CLASSES = 5
NODATA = 255
STRIP = 1024
MAP_SEED = 7
INTERVAL = 0.1
"""Seconds between two looks at memory."""


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
                top = row % repeat
                strips = [
                    np.roll(field[top : top + height], shift * (k + 1), axis=1)[:, :width]
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
    from segment_tiles.workflows.polygons.polygonize import polygonize  # noqa: PLC0415 - each side loads only what it uses

    polygonize(mask, [out], workers=workers)


def measured(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Run this script as a subprocess; return its seconds, processor seconds and peak MiB, children included."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.polygons.peers", *arguments], env=environment(folder)
    )
    peak = 0
    processor: dict[int, float] = {}
    while process.poll() is None:
        peak = max(peak, sample(process.pid, processor))
        time.sleep(INTERVAL)
    if process.returncode != 0:
        raise SystemExit(f"{arguments} failed with status {process.returncode}")
    return {
        "seconds": round(time.monotonic() - started, 2),
        "processor_seconds": round(sum(processor.values()), 2),
        "peak_mib": round(peak / 2**20),
    }


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which both sides find compiled modules, as installed programs do."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def warm_up(folder: Path, workers: int) -> None:
    """Run both sides once on a small mask, so that modules are compiled and files are in memory."""
    mask = folder / "small.tif"
    write_mask(mask, 256, 10.0)
    measured(folder, ["--as", "ours", str(mask), str(folder / "small.parquet"), "--workers", str(workers)])
    measured(folder, ["--as", "peer", str(mask), str(folder / "small.parquet")])


def sample(pid: int, processor: dict[int, float]) -> int:
    """Return the proportional set size of a process tree now; note the processor time of each process."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            times = process.cpu_times()
            processor[process.pid] = times.user + times.system
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue  # it ended between two calls
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def count(path: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415 - each side loads only what it uses

    return int(pq.read_metadata(path).num_rows)


def compare(folder: Path, side: int, radius: float, workers: int, repeat: int) -> dict[str, object]:
    """Both sides on one mask, in turn."""
    mask, ours, peer = folder / f"mask-{side}.tif", folder / "ours.parquet", folder / "peer.parquet"
    write_mask(mask, side, radius)
    warm_up(folder, workers)
    rounds = []
    for _ in range(repeat):
        our = measured(folder, ["--as", "ours", str(mask), str(ours), "--workers", str(workers)])
        other = measured(folder, ["--as", "peer", str(mask), str(peer)])
        rounds.append({"segment-tiles": our, "rasterio + GeoPandas": other, "ratios": {
            key: round(our[key] / other[key], 3) for key in our
        }})  # fmt: skip
        print(json.dumps(rounds[-1]), file=sys.stderr)
    if count(ours) != count(peer):
        raise SystemExit(f"{count(ours)} features here and {count(peer)} there")
    median = {key: statistics.median(r["ratios"][key] for r in rounds) for key in rounds[0]["ratios"]}
    return {
        "side": side, "features": count(ours), "workers": workers, "rounds": rounds, "median_ratios": median
    }  # fmt: skip


def growth(folder: Path, side: int, radius: float, workers: int) -> dict[str, object]:
    """segment-tiles on a quarter of the side and on the side: how memory grows."""
    warm_up(folder, workers)
    rows = []
    for length in (side // 4, side):
        mask, out = folder / f"mask-{length}.tif", folder / f"ours-{length}.parquet"
        write_mask(mask, length, radius)
        figures = measured(folder, ["--as", "ours", str(mask), str(out), "--workers", str(workers)])
        rows.append({"side": length, "features": count(out), **figures})
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {
        "workers": workers,
        "runs": rows,
        "memory_growth": round(rows[1]["peak_mib"] / rows[0]["peak_mib"], 3),
    }


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--as", dest="role", choices=["ours", "peer"])
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--radius", type=float, default=10.0, help="of the smoothing, in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1, help="rounds of both sides, one after the other")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    if arguments.role == "ours":
        mask, out = arguments.files
        run_ours(mask, out, arguments.workers)
        return
    if arguments.role == "peer":
        mask, out = arguments.files
        run_peer(mask, out)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        settings = (Path(name), arguments.side, arguments.radius, arguments.workers)
        result = growth(*settings) if arguments.growth else compare(*settings, arguments.repeat)
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
