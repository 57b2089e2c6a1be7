"""What a cluster costs: one worker process against this process, and a Plan of many tiles that cost nothing.

    python -m benchmarks.batches.dask_overhead [--side 4096] [--tiles 100000] [--rounds 1] [--backbones resnet50]
        [--folder DIR]

First the Regions of a Plan, and one Region for every shard of it, go through a scheduler and two workers that are
processes of their own, with a network that costs nothing: what is left is what the driver and the scheduler do. Then
the same scene is run in one process and with ``--workers 1``, one after the other, every default output, float32 in
torch, by a DeepLabv3+ with drawn weights on each backbone; the seconds are those of whole commands.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil
from distributed import Client

from benchmarks.shared.commands import PROGRAM, arguments_of
from benchmarks.shared.drawn_model import save_drawn_model
from benchmarks.shared.rasters import smooth_scene
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.sources.view import WHOLE
from segment_tiles.workflows.executors.dask_cluster.sliding_window import SlidingWindow
from segment_tiles.workflows.executors.dask_cluster.worker import ProgressEvents, WorkOrder
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.plans.strips import in_strips
from segment_tiles.workflows.regions.loaded_model import ModelRequest
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener

TILE, OVERLAP = 512, 128
WORKERS = 2


def seconds_of(raster: Path, model: Path, out: Path, *more: str) -> float:
    """Run once and return the wall time of the command."""
    started = time.perf_counter()
    subprocess.run(
        [PROGRAM, "run", raster, "--model", model, "--out", out, "--quiet", "--precision", "fp32",
         "--backend", "torch", *more], check=True,
    )  # fmt: skip
    return time.perf_counter() - started


def compare_with_one_process(folder: Path, raster: Path, backbone: str, rounds: int) -> None:
    """Print the ratio of one worker to none; which of them goes first changes from round to round."""
    model = save_drawn_model(folder / backbone, backbone)
    ratios = []
    for number in range(rounds):
        order = [("process", ()), ("worker", ("--workers", "1"))]
        seconds = {
            name: seconds_of(raster, model, folder / f"{backbone}-{name}-{number}", *more)
            for name, more in (order if number % 2 == 0 else reversed(order))
        }
        ratios.append(seconds["worker"] / seconds["process"])
        print(
            f"{raster.stem}, {backbone}: in process {seconds['process']:.1f} s, --workers 1 {seconds['worker']:.1f} s, "
            f"ratio {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.3f} (asked: 1.10 at most)")


def costs_nothing(task: RegionTask, order: WorkOrder) -> RegionReport:
    """Walk over the tiles of a Region as a run does, telling of each, without reading or computing."""
    progress = ProgressEvents(order.run)
    count = 0
    for _ in task.cut.lattice.tiles(task.region):
        progress(1, 0)
        count += 1
    progress.send()
    return RegionReport(computed=count)


def lattice_of(tiles: int) -> Lattice:
    """Return the lattice of a square raster with about so many tiles."""
    along = round(tiles**0.5)
    side = along * (TILE - OVERLAP) + OVERLAP
    return Lattice(side, side, TILE, OVERLAP)


def tasks_of(lattice: Lattice, regions: Sequence[Window]) -> list[RegionTask]:
    """Return tasks such as a run has; what they name is never opened."""
    roi = Window(0, 0, lattice.rows.size, lattice.columns.size)
    spec = RasterSpec(3, roi.height, roi.width, "uint8", GeoRef.of_pixels())
    opener = RasterOpener("/data/scene.tif", (1, 2, 3), None, "all", "mask", 0, WHOLE)
    first = RegionTask(
        Cut("raster", spec, lattice, roi, opener), (0, 1), regions[0], ModelRequest((("canopy-rgb", "0" * 64),), "cpu"),
        "cpu", "gaussian", Path("/data/out/classes.zarr"), Path("/data/out/ledger"), with_scores=False,
    )  # fmt: skip
    return [replace(first, region=region) for region in regions]


def drive(client: Client, scheduler: psutil.Process, name: str, tasks: list[RegionTask]) -> None:
    """Print what the driver and the scheduler took for these Regions."""
    done = [0]

    def count(computed: int, skipped: int) -> None:
        done[0] += computed + skipped

    before, processor = scheduler.memory_info().rss, time.process_time()
    started = time.perf_counter()
    order = WorkOrder(f"benchmark-{name}", version("segment-tiles"))
    window = SlidingWindow(client, order, tasks, count, Interruption(), print, do=costs_nothing)
    reports = window.run()
    seconds = time.perf_counter() - started
    after = scheduler.memory_info().rss
    assert sum(report.computed for report in reports) == done[0], "no tile and no progress is lost"
    print(
        f"{done[0]:,} tiles as {len(tasks):,} {name}: {seconds:.2f} s, driver {time.process_time() - processor:.2f} s "
        f"of processor; scheduler {after / 1e6:.0f} MB, {(after - before) / 1e6:+.1f} MB",
        flush=True,
    )


def many_tiles(folder: Path, tiles: int) -> None:
    """Drive a large Plan through a scheduler and workers of their own."""
    lattice = lattice_of(tiles)
    roi = Window(0, 0, lattice.rows.size, lattice.columns.size)
    strips = in_strips(lattice.tile_count, roi, (roi,), WORKERS)
    rows, columns = shard_shape(roi.width)
    shards = [
        Window(top, left, rows, columns).intersect(roi)
        for top in range(0, roi.height, rows)
        for left in range(0, roi.width, columns)
    ]
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as stack:
        common = ["--no-dashboard", "--scheduler-file", str(file)]
        for options in (
            ["scheduler", "--host", "127.0.0.1", "--port", "0", *common],
            *[["worker", "--nthreads", "1", *common]] * WORKERS,
        ):
            process = subprocess.Popen(
                [*dask, *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        while not file.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(WORKERS)
            scheduler = psutil.Process(client.run_on_scheduler(_pid))
            drive(client, scheduler, "Regions (first, loads the program)", tasks_of(lattice, strips))
            drive(client, scheduler, "Regions of the Plan (asked: under 60 s)", tasks_of(lattice, strips))
            # far more and smaller Regions than any run has, with their borders computed twice
            drive(client, scheduler, "Regions of one shard (no run does this)", tasks_of(lattice, shards))


def _pid() -> int:
    return psutil.Process().pid


def main() -> None:
    """Print both comparisons."""
    parser = arguments_of(__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--backbones", nargs="+", default=["resnet50"])
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        many_tiles(Path(name), arguments.tiles)
        raster = smooth_scene(Path(name) / f"{arguments.side} px.tif", arguments.side)
        for backbone in arguments.backbones:
            compare_with_one_process(Path(name), raster, backbone, arguments.rounds)


if __name__ == "__main__":
    main()
