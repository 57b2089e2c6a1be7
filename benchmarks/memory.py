"""Peak memory of whole runs against their Plans, at growing sizes; and how quickly a huge Plan prints.

    python -m benchmarks.memory [--sizes 4096 8192 16384] [--backend torch] [--folder DIR]

Each run is a process of its own, with every default output and one backend at all sizes: the libraries of
another one, which `auto` may take where it pays, count too. "computed" is the peak up to the end of the
computation, before overviews, COG and polygons. The raster is synthetic, the network a light
DeepLabv3+ (MobileNetV3-small at half width) with drawn weights: memory does not depend on them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import rasterio

from benchmarks.shared.commands import PROGRAM, arguments_of
from benchmarks.shared.drawn_model import LIGHT_BACKBONE, save_drawn_model
from benchmarks.shared.rasters import smooth_scene


def run(raster: Path, model: Path, out: Path, formats: str, backend: str) -> dict[str, float]:
    """Run once and return the peak and the Plan from the report."""
    started = time.perf_counter()
    done = subprocess.run(
        [PROGRAM, "run", raster, "--model", model, "--out", out, "--json", "--format", formats,
         "--backend", backend],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    memory = report["memory"]
    return {
        "seconds": time.perf_counter() - started,
        "peak": memory["peak_bytes"],
        "computed": memory["computing_peak_bytes"],
        "planned": memory["planned_bytes"],
        "accumulator": memory["planned"]["accumulator"],
    }


def time_huge_plan(folder: Path, model: Path) -> None:
    """Print how long the Plan of 100 000 x 100 000 pixels takes."""
    huge = folder / "huge.tif"
    with rasterio.open(
        huge, "w", driver="GTiff", width=100_000, height=100_000, count=3, dtype="uint8", tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", sparse_ok=True, bigtiff="yes",
        crs="EPSG:32633", transform=rasterio.Affine(0.1, 0, 400000, 0, -0.1, 5600000),
    ):  # fmt: skip
        pass
    for attempt in ("first, with the probe", "second, probe remembered"):
        started = time.perf_counter()
        plan = subprocess.run(
            [PROGRAM, "plan", huge, "--model", model, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - started
        document = json.loads(plan.stdout)
        print(
            f"Plan of 100 000 x 100 000, {attempt}: {seconds:.2f} s, {document['tiles']:,} tiles, "
            f"{document['memory']['total'] / 1e9:.2f} GB"
        )


def main() -> None:
    """Print one row per size."""
    parser = arguments_of(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--formats", default="zarr,cog,parquet")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        model = save_drawn_model(folder / "light", LIGHT_BACKBONE)
        print("  side computed MB  peak MB  Plan MB peak/Plan growth MB       s")
        first: dict[str, float] | None = None
        for side in arguments.sizes:
            raster = smooth_scene(folder / f"{side}.tif", side)
            result = run(raster, model, folder / f"out-{side}", arguments.formats, arguments.backend)
            first = first or result
            computed, peak, planned = (result[key] / 1e6 for key in ("computed", "peak", "planned"))
            growth = peak - first["peak"] / 1e6
            print(
                f"{side:>6} {computed:>11.0f} {peak:>8.0f} {planned:>8.0f} {peak / planned:>9.2f} {growth:>9.0f} "
                f"{result['seconds']:>7.1f}",
                flush=True,
            )
            raster.unlink()
        time_huge_plan(folder, model)


if __name__ == "__main__":
    main()
