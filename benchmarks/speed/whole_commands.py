"""What a user waits for: whole processes from a cold start to the exit, ours as the command line, peers as scripts.

    python -m benchmarks.speed.whole_commands [--sizes 2048 4096] [--repeat 3] [--model canopy-rgb] [--folder DIR]

Everything counts: imports, loading the network, reading, computing, writing. The peers compute in float32 in torch
and write one GeoTIFF, as their documentation shows. "zarr" writes a Zarr store with confidence alone; "defaults" is
the command without an option: its Choice of backend and precision, Zarr, COG, polygons, preview, report and STAC
item. It is the second start that is timed: the Choice is made, the network kept, and for int8 calibrated. A second
table says where ours goes.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.shared.commands import PROGRAM, arguments_of, timed
from segment_tiles.pipeline.models.registry import find_model

TILES = ["--tile", "512", "--overlap", "0.25"]
ZARR = ["--format", "zarr", "--no-preview", "--no-item"]
OURS = {
    "defaults": [],
    "zarr, torch fp32": [*ZARR, "--backend", "torch", "--precision", "fp32"],
    "zarr, torch bf16": [*ZARR, "--backend", "torch", "--precision", "bf16"],
    "zarr, openvino bf16": [*ZARR, "--backend", "openvino", "--precision", "bf16"],
    "zarr, openvino int8": [*ZARR, "--backend", "openvino", "--precision", "int8"],
    "all outputs, torch fp32": ["--backend", "torch", "--precision", "fp32"],
}
"""Name -> options of `segment-tiles run`."""
BASE = "pytorch-toolbelt"
"""What the others are divided by."""


def as_script(asked: list[str]) -> None:
    """Do what the script of a peer does, in this process."""
    import torch  # noqa: PLC0415 - part of what is timed

    from benchmarks.speed.contenders import PEERS, Job  # noqa: PLC0415

    name, raster, model, out = asked
    PEERS[name](
        Job(Path(raster), Path(model), Path(out), "torch", "fp32", 1, torch.device("cpu"), is_warm=False)
    )()


def commands(raster: Path, model: str, out: Path) -> dict[str, list[str]]:
    """Return the command of every contender that is installed."""
    run = [PROGRAM, "run", str(raster), "--model", model, "--out", str(out), "--quiet", *TILES]
    found = {
        name: [*run, *options]
        for name, options in OURS.items()
        if not {"openvino", "int8"} & {*options} or find_spec("nncf" if "int8" in options else "openvino")
    }
    for name, library in (("MONAI", "monai"), (BASE, "pytorch_toolbelt"), ("plain loop", "rasterio")):
        if find_spec(library) is None:
            print(f"left out: {name} is not installed")
        else:
            found[name] = [
                sys.executable,
                "-m",
                "benchmarks.speed.whole_commands",
                "--as",
                name,
                str(raster),
                str(find_model(model)),
                str(out),
            ]
    return found


def measure(raster: Path, model: str, repeat: int) -> None:
    """Run all in turn and print both tables."""
    out = raster.with_name("out")
    times: dict[str, list[tuple[float, float]]] = {}
    parts: dict[str, list[dict[str, float]]] = {}
    for turn in range(repeat + 1):
        for name, command in commands(raster, model, out).items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            taken = timed(command)
            if turn:
                times.setdefault(name, []).append(taken)
                if name in OURS:
                    seconds = json.loads((out / "report.json").read_text())["seconds"]
                    here = {part: seconds[part] for part in ("prepare", "segment", "finish")}
                    parts.setdefault(name, []).append({"start": taken[0] - sum(here.values()), **here})
    shutil.rmtree(out, ignore_errors=True)
    base = statistics.median(seconds for seconds, _ in times[BASE]) if BASE in times else None
    print(f"{'':>24} {'s':>7} {'CPU s':>7} {'of toolbelt':>12}")
    for name, rows in times.items():
        seconds, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = "-" if base is None else f"{seconds / base:.2f}"
        print(f"{name:>24} {seconds:7.2f} {cpu:7.1f} {ratio:>12}", flush=True)
    print(f"\n{'where ours goes, s':>24} {'start':>8} {'prepare':>8} {'compute':>8} {'finish':>8}")
    for name, found in parts.items():
        cells = (
            statistics.median(row[part] for row in found)
            for part in ("start", "prepare", "segment", "finish")
        )
        print(f"{name:>24}", *(f"{cell:8.2f}" for cell in cells), flush=True)


def main() -> None:
    """Print both tables for every size."""
    if sys.argv[1:2] == ["--as"]:
        as_script(sys.argv[2:])
        return
    from benchmarks.shared.rasters import mirrored_scene  # noqa: PLC0415 - not part of a peer's script

    parser = arguments_of(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default="canopy-rgb", help="bundled model")
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for side in asked.sizes:
            print(f"\n{side} x {side} px, {asked.model}, tiles of 512 px, 25 % overlap, whole processes")
            measure(mirrored_scene(Path(folder) / f"{side}.tif", side), asked.model, asked.repeat)


if __name__ == "__main__":
    main()
