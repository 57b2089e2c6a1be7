"""Whole commands on many small rasters, and on one: `segment-tiles batch` and `run` beside the loop a user would write.

    python benchmarks/many_scenes.py [--count 200] [--side 512] [--single 400] [--repeat 3] [--folder /fast/disk]

Each is a process of its own, from start to exit, imports included, at its second start: the Choice is made, and the
network is kept. Contenders take turns, medians are shown. `batch` writes COGs alone, the loop plain GeoTIFFs; `run`
has its default outputs. "CPU" is of all processes that a command started; "network alone" reads one picture, computes
it as often as there are pictures, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import rasterio
from rasterio.windows import Window

from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.demo import DEMO_SCENE

MODEL = "canopy-rgb"
PROGRAM = [str(Path(sys.executable).with_name("segment-tiles"))]
LIKE_FOR_LIKE = ["--precision", "fp32", "--backend", "torch"]
"""What the loop computes in."""
MAP_ALONE = {"preview": False, "item": False}
"""What the loop does without."""


def write_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Write crops of the scene that ships with the program, each at another corner."""
    folder.mkdir()
    paths = []
    with rasterio.open(DEMO_SCENE) as source:
        for number in range(count):
            window = Window(
                (53 * number) % (source.width - side), (37 * number) % (source.height - side), side, side
            )
            profile = {
                **source.profile,
                "width": side,
                "height": side,
                "transform": source.window_transform(window),
            }
            paths.append(folder / f"scene-{number:04}.tif")
            with rasterio.open(paths[-1], "w", **profile) as target:
                target.write(source.read(window=window))
    return paths


def timed(command: list[str]) -> tuple[float, float]:
    """Return seconds and seconds of processor of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def batch_command(folder: Path, pictures: Path, settings: dict[str, object]) -> list[str]:
    """Return the command that maps every picture of a folder."""
    jobs = folder / "jobs.json"
    jobs.write_text(
        json.dumps(
            {
                "results": str(folder / "out"),
                "defaults": {"model": MODEL, "format": ["cog"], **settings},
                "jobs": [{"source": f"{pictures}/*.tif"}],
            }
        )
    )
    return [*PROGRAM, "batch", str(jobs)]


def compare(
    contenders: dict[str, Callable[[Path], list[str]]], repeat: int, folder: Path, pictures: int
) -> None:
    """Run all in turn and print a table; the last one is what the others are divided by."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(repeat + 1):
        for name, command in contenders.items():
            work = folder / "work"
            work.mkdir()
            taken = timed(command(work))
            shutil.rmtree(work)
            if turn:  # the first one makes the Choice
                found[name].append(taken)
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    base = list(medians.values())[-1]
    print(f"{'':>30} {'s':>8} {'ratio':>6} {'CPU s':>8} {'ratio':>6} {'CPU ms a picture':>17}")
    for name, (seconds, cpu) in medians.items():
        print(
            f"{name:>30} {seconds:8.2f} {seconds / base[0]:6.2f} {cpu:8.2f} {cpu / base[1]:6.2f} "
            f"{1000 * cpu / pictures:17.0f}",
            flush=True,
        )


def main() -> None:
    """Print one table for many pictures and one for a single one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--single", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        loop = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), str(find_model(MODEL))]
        many = write_pictures(folder / "many", asked.count, asked.side)
        print(f"{asked.count} rasters of {asked.side} px, {MODEL}, COG alone")
        compare(
            {
                "batch, with preview and item": lambda work: batch_command(work, folder / "many", {}),
                "batch": lambda work: batch_command(work, folder / "many", MAP_ALONE),
                "batch, torch in fp32": lambda work: batch_command(
                    work, folder / "many", {**MAP_ALONE, "precision": "fp32", "backend": "torch"}
                ),
                **(
                    {"MONAI": lambda work: [*loop, str(work / "out"), *map(str, many), "--way", "monai"]}
                    if find_spec("monai")
                    else {}
                ),
                "network alone, torch in fp32": lambda work: [
                    *loop,
                    str(work / "out"),
                    *map(str, many),
                    "--way",
                    "network-alone",
                ],
                "plain loop, torch in fp32": lambda work: [*loop, str(work / "out"), *map(str, many)],
            },
            asked.repeat,
            folder,
            asked.count,
        )
        (one,) = write_pictures(folder / "one", 1, asked.single)
        run = [*PROGRAM, "run", str(one), "--model", MODEL, "--out"]
        print(f"\none raster of {asked.single} px, default outputs")
        compare(
            {
                "run": lambda work: [*run, str(work / "out")],
                "run, torch in fp32": lambda work: [*run, str(work / "out"), *LIKE_FOR_LIKE],
                "run --format cog": lambda work: [*run, str(work / "out"), "--format", "cog"],
                "plain script, torch in fp32": lambda work: [*loop, str(work / "out"), str(one)],
            },
            asked.repeat,
            folder,
            1,
        )


if __name__ == "__main__":
    main()
