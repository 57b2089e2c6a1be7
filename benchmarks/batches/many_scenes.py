"""Whole commands on many small rasters, and on one: `segment-tiles batch` and `run` beside the loop a user would write.

    python -m benchmarks.batches.many_scenes [--count 200] [--side 512] [--single 400] [--repeat 3] [--folder DIR]

Each is a process of its own, from start to exit, imports included, at its second start: the Choice is made, the
network is kept, and for int8 it was calibrated on the scene that the crops are of. Contenders take turns, medians are
shown. `batch` writes COGs alone, the loop plain GeoTIFFs; `run` has its default outputs. "CPU" is of all processes that
a command started; "network alone" reads one picture, computes it as often as there are pictures, and writes nothing.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from rasterio.windows import Window

from benchmarks.shared.commands import PROGRAM, arguments_of, timed
from benchmarks.shared.rasters import crop_of_scene, size_of_scene
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.demo import DEMO_SCENE

MODEL = "canopy-rgb"
LIKE_FOR_LIKE = ["--precision", "fp32", "--backend", "torch"]
"""What the loop computes in."""
MAP_ALONE = {"preview": False, "item": False}
"""What the loop does without."""


def write_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Write crops of the scene that ships with the program, each at another corner."""
    folder.mkdir()
    height, width = size_of_scene()
    return [
        crop_of_scene(
            folder / f"scene-{number:04}.tif",
            Window((53 * number) % (width - side), (37 * number) % (height - side), side, side),
        )
        for number in range(count)
    ]


def batch_command(folder: Path, pictures: Path, settings: Mapping[str, object]) -> list[str]:
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
    return [PROGRAM, "batch", str(jobs)]


def loop_command(work: Path, pictures: list[Path], *way: str, model: Path | None = None) -> list[str]:
    """Return the command of the loop that a user would write."""
    script = [sys.executable, "-m", "benchmarks.batches.plain_loop", str(model or find_model(MODEL))]
    return [*script, str(work / "out"), *map(str, pictures), *way]


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


def of_many(folder: Path, pictures: list[Path]) -> dict[str, Callable[[Path], list[str]]]:
    """Return the commands that map a folder of pictures."""

    def batch(settings: Mapping[str, object]) -> Callable[[Path], list[str]]:
        return lambda work: batch_command(work, folder, settings)

    def loop(*way: str, model: Path | None = None) -> Callable[[Path], list[str]]:
        return lambda work: loop_command(work, pictures, *way, model=model)

    scripted = folder.parent / "scripted.pt"
    if has_geo_inference := find_spec("geo_inference") is not None:
        from benchmarks.batches.plain_loop import write_scripted  # noqa: PLC0415 - brings torch

        write_scripted(find_model(MODEL), scripted)
    return {
        "batch, with preview and item": batch({}),
        "batch": batch(MAP_ALONE),
        "batch, torch in fp32": batch({**MAP_ALONE, "precision": "fp32", "backend": "torch"}),
        **({"batch, int8": batch({**MAP_ALONE, "precision": "int8"})} if find_spec("nncf") else {}),
        **({"geo-inference": loop("--way", "geo-inference", model=scripted)} if has_geo_inference else {}),
        **({"MONAI": loop("--way", "monai")} if find_spec("monai") else {}),
        "network alone, torch in fp32": loop("--way", "network-alone"),
        "plain loop, torch in fp32": loop(),
    }


def of_one(picture: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Return the commands that map one picture."""

    def run(*options: str) -> Callable[[Path], list[str]]:
        return lambda work: [
            PROGRAM, "run", str(picture), "--model", MODEL, "--out", str(work / "out"), *options,
        ]  # fmt: skip

    return {
        "run": run(),
        "run, torch in fp32": run(*LIKE_FOR_LIKE),
        "run --format cog": run("--format", "cog"),
        "plain script, torch in fp32": lambda work: loop_command(work, [picture]),
    }


def main() -> None:
    """Print one table for many pictures and one for a single one."""
    parser = arguments_of(__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--single", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if find_spec("nncf"):
            out = str(folder / "calibrated")
            timed([PROGRAM, "run", str(DEMO_SCENE), "--model", MODEL, "--out", out, "--precision", "int8"])
        pictures = write_pictures(folder / "many", asked.count, asked.side)
        print(f"{asked.count} rasters of {asked.side} px, {MODEL}, COG alone")
        compare(of_many(folder / "many", pictures), asked.repeat, folder, asked.count)
        (one,) = write_pictures(folder / "one", 1, asked.single)
        print(f"\none raster of {asked.single} px, default outputs")
        compare(of_one(one), asked.repeat, folder, 1)


if __name__ == "__main__":
    main()
