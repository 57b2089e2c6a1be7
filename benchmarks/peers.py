"""One map, several ways, in one run: the floor, ours, MONAI, and the loop that a user would write.

    python benchmarks/peers.py [--sizes 2048 4096] [--repeat 3] [--model canopy-rgb] [--precision fp32 bf16]

The same weights, tiles of 512 px, 25 % overlap, from a GeoTIFF on disk to a class map on disk. Every
contender runs in a process of its own, in turn, ``--repeat`` times; medians are shown. Imports, loading the
model and one warm-up pass are not counted, for anybody. The floor is the bare forward pass, in the form in
which ours runs the network, of as many tiles as the lattice has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.workflows.process_memory import peak_resident_bytes

TILE, OVERLAP = 512, 128
STRIDE = TILE - OVERLAP
CPU = torch.device("cpu")


def floor(raster: Path, model: Path, out: Path, precision: str) -> Callable[[], Any]:
    """The network alone: as many tiles as the lattice has."""
    manifest = load_manifest(model)
    segmenter = Segmenter(load_network(model, manifest), manifest, CPU, precision)
    with rasterio.open(raster) as dataset:
        tiles = Lattice(dataset.height, dataset.width, TILE, OVERLAP).count
        values = torch.from_numpy(dataset.read(window=RasterioWindow(0, 0, TILE, TILE)))[None]
    image = segmenter.normalized(values, None)

    @torch.inference_mode()
    def work() -> None:
        for _ in range(tiles):
            segmenter.network(image)

    with torch.inference_mode():
        segmenter.network(image)
    return work


def ours(raster: Path, model: Path, out: Path, precision: str) -> Callable[[], Any]:
    """A Region task over the whole raster: read, network, blend, argmax, Zarr with confidence."""
    from segment_tiles.pipeline.outputs.store import create_store  # noqa: PLC0415
    from segment_tiles.pipeline.sources.open import open_source  # noqa: PLC0415
    from segment_tiles.workflows.memory import read_cache_bytes  # noqa: PLC0415
    from segment_tiles.workflows.region_task import RegionTask, do_region, load_segmenter  # noqa: PLC0415

    manifest = load_manifest(model)
    source = open_source(str(raster))
    spec = source.spec
    create_store(out / "classes.zarr", (spec.height, spec.width), spec.georef, manifest.classes)
    task = RegionTask(
        uri=str(raster), bands=(1, 2, 3), nodata=None, nodata_rule="all", level=0,
        settings={"GDAL_CACHEMAX": read_cache_bytes(spec, spec.width) // 2**20}, aoi=None,
        model=str(model), checksum=manifest.weights_checksum, device="cpu", device_name="cpu",
        precision=precision, batch=1,
        lattice=Lattice(spec.height, spec.width, TILE, OVERLAP), blend="gaussian", roi=spec.window,
        region=Window(0, 0, spec.height, spec.width), store=out / "classes.zarr", ledger=out / "ledger",
        with_scores=False,
    )  # fmt: skip
    segmenter = load_segmenter(model, manifest.weights_checksum, "cpu", precision, trust=task.trust)
    segmenter.scores(torch.from_numpy(source.read(Window(0, 0, TILE, TILE)))[None])
    source.close()
    return lambda: do_region(task)


def _plain_network(model: Path) -> tuple[Any, torch.Tensor, torch.Tensor]:
    manifest = load_manifest(model)
    mean = torch.tensor(manifest.mean).reshape(1, -1, 1, 1)
    std = torch.tensor(manifest.std).reshape(1, -1, 1, 1)
    network = load_network(model, manifest).eval()
    with torch.inference_mode():
        network(torch.zeros(1, len(manifest.bands), TILE, TILE))
    return network, mean, std


def monai(raster: Path, model: Path, out: Path, precision: str) -> Callable[[], Any]:
    """sliding_window_inference, gaussian, as its documentation shows it."""
    from monai.inferers import sliding_window_inference  # noqa: PLC0415

    network, mean, std = _plain_network(model)

    @torch.inference_mode()
    def work() -> None:
        with rasterio.open(raster) as dataset:
            image = torch.from_numpy(dataset.read()).float()[None]
            profile = dataset.profile
        image = (image - mean) / std
        logits = sliding_window_inference(image, (TILE, TILE), 4, network, overlap=0.25, mode="gaussian")
        codes = logits.argmax(1)[0].to(torch.uint8).numpy()
        with rasterio.open(out / "classes.tif", "w", **{**profile, "count": 1}) as dataset:
            dataset.write(codes, 1)

    return work


def plain_loop(raster: Path, model: Path, out: Path, precision: str) -> Callable[[], Any]:
    """Read a window with its halo, run the network, keep the middle, write it."""
    network, mean, std = _plain_network(model)
    halo = OVERLAP // 2

    @torch.inference_mode()
    def work() -> None:
        with rasterio.open(raster) as dataset:
            profile = {**dataset.profile, "count": 1}
            with rasterio.open(out / "classes.tif", "w", **profile) as result:
                for top in range(0, dataset.height, STRIDE):
                    for left in range(0, dataset.width, STRIDE):
                        window = RasterioWindow(left - halo, top - halo, TILE, TILE)
                        values = torch.from_numpy(dataset.read(window=window, boundless=True)).float()[None]
                        codes = network((values - mean) / std).argmax(1)[0].to(torch.uint8).numpy()
                        height, width = min(STRIDE, dataset.height - top), min(STRIDE, dataset.width - left)
                        middle = codes[halo : halo + height, halo : halo + width]
                        result.write(middle, 1, window=RasterioWindow(left, top, width, height))

    return work


CONTENDERS = {"floor": floor, "ours": ours, "MONAI": monai, "plain loop": plain_loop}


def one_contender(name: str, raster: Path, model: Path, precision: str) -> None:
    """Run one contender in this process and print its time and peak."""
    with tempfile.TemporaryDirectory(dir=raster.parent) as folder:
        work = CONTENDERS[name](raster, model, Path(folder), precision)
        started, spent = time.perf_counter(), time.process_time()
        work()
        seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_resident_bytes()}))


def make_raster(path: Path, side: int) -> Path:
    """Mirror the scene that ships with the program to any size."""
    from segment_tiles.workflows.demo import DEMO_SCENE  # noqa: PLC0415

    with rasterio.open(DEMO_SCENE) as dataset:
        scene, profile = dataset.read(), dataset.profile
    extra = [(0, 0), (0, max(0, side - scene.shape[1])), (0, max(0, side - scene.shape[2]))]
    values = np.pad(scene, extra, mode="symmetric")[:, :side, :side]
    profile.update(driver="GTiff", width=side, height=side, compress="deflate")
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
    return path


def measure(
    raster: Path, model: Path, jobs: list[tuple[str, str]], repeat: int
) -> dict[Any, dict[str, float]]:
    """Run all contenders in turn, several times, and return the medians."""
    results: dict[tuple[str, str], list[dict[str, float]]] = {job: [] for job in jobs}
    for _ in range(repeat):
        for name, precision in jobs:
            done = subprocess.run(
                [sys.executable, __file__, "--as", name, str(raster), str(model), precision],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            results[name, precision].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        job: {key: statistics.median(row[key] for row in rows) for key in ("seconds", "cpu", "peak")}
        for job, rows in results.items()
    }


def main() -> None:
    """Print one table per size."""
    if "--as" in sys.argv:
        _, _, name, raster, model, precision = sys.argv
        one_contender(name, Path(raster), Path(model), precision)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default="canopy-rgb")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    jobs = [(name, precision) for precision in arguments.precision for name in ("floor", "ours")]
    jobs += [("MONAI", "fp32"), ("plain loop", "fp32")]
    print(f"model {arguments.model}, tile {TILE}, overlap {OVERLAP} px, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for side in arguments.sizes:
            raster = make_raster(Path(folder) / f"{side}.tif", side)
            results = measure(raster, model, jobs, arguments.repeat)
            print(f"\n{side} x {side} px, median of {arguments.repeat}")
            heads = (
                ("s", 8),
                ("CPU s", 7),
                ("Mpx/s", 7),
                ("of floor", 9),
                ("of MONAI", 9),
                ("peak MB", 8),
                ("of MONAI", 9),
            )
            print(" " * 16, *(f"{head:>{width}}" for head, width in heads))
            monai_row = results["MONAI", "fp32"]
            for (name, precision), row in results.items():
                base = results["floor", precision]
                print(
                    f"{name + ' ' + precision:>16} {row['seconds']:>8.2f} {row['cpu']:>7.1f} "
                    f"{side * side / 1e6 / row['seconds']:>7.2f} {row['seconds'] / base['seconds']:>9.2f} "
                    f"{row['seconds'] / monai_row['seconds']:>9.2f} {row['peak'] / 1e6:>8.0f} "
                    f"{row['peak'] / monai_row['peak']:>9.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
