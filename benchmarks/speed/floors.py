"""Ours against its own floor, turn by turn in one process: what slows the host slows both.

    python -m benchmarks.speed.floors [--sides 4096] [--repeat 3] [--backends torch openvino] [--precision fp32 bf16]
        [--backbone mobilenetv2_100] [--device cuda] [--rewritten]

A floor is the bare forward pass, in the same backend and precision, of as many tiles as the lattice has. Computing is
everything from the GeoTIFF to the shards of the Zarr store; the whole run has also what comes before and after, checks,
overviews and reports, but no imports. `peers.py` runs each in a process of its own, and shows its memory;
there a floor and ours are half a minute apart, in which a shared host may change its speed by more than
what is measured.
"Faults" are pages that the system had to map: memory that was returned and taken again.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.shared.commands import arguments_of
from benchmarks.shared.drawn_model import save_drawn_model
from benchmarks.shared.rasters import mirrored_scene
from benchmarks.speed.contenders import OF_A_BACKEND, Job, floor
from segment_tiles.pipeline.models.backends.known import BACKENDS
from segment_tiles.pipeline.models.devices import device_label, resolve_device, synchronize


class Turn(NamedTuple):
    """What one contender took once."""

    seconds: float
    """Of all that it does."""
    computing: float
    """Of its Regions; of a floor the same."""
    faults: int
    """Pages that were mapped."""


def turn(name: str, job: Job) -> Turn:
    """Get a contender ready, and run it once."""
    work = OF_A_BACKEND[name](job)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    started = time.perf_counter()
    computing = work()
    synchronize(job.device)
    seconds = time.perf_counter() - started
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return Turn(seconds, computing if name == "ours" else seconds, faults)


def compare(job: Job, repeat: int) -> None:
    """Print medians and their ratio, and the turns that they come from."""
    turns: dict[str, list[Turn]] = {name: [] for name in OF_A_BACKEND}
    for _ in range(repeat):
        for name, rows in turns.items():
            with tempfile.TemporaryDirectory(dir=job.out) as out:
                rows.append(turn(name, replace(job, out=Path(out))))
    floor = statistics.median(row.seconds for row in turns["floor"])
    computing = statistics.median(row.computing for row in turns["ours"])
    whole = statistics.median(row.seconds for row in turns["ours"])
    faults = statistics.median(row.faults for row in turns["ours"])
    pairs = zip(turns["ours"], turns["floor"], strict=True)
    each = ", ".join(f"{a.computing:.2f}/{b.seconds:.2f}" for a, b in pairs)
    print(
        f"{job.backend} {job.precision}: floor {floor:.2f} s, computing {computing:.2f} s, "
        f"ratio {computing / floor:.3f}, whole run {whole / floor:.3f}, faults {faults:.0f} (computing/floor: {each})",
        flush=True,
    )


def main() -> None:
    """Print one line per size, backend and precision."""
    parser = arguments_of(__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[4096])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--backends", nargs="+", default=["torch", "openvino"], choices=list(BACKENDS))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--rewritten",
        action="store_true",
        help="the floor is the whole forward pass as `run` has it, with what we rewrite",
    )
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    if arguments.rewritten:
        OF_A_BACKEND["floor"] = partial(floor, rewritten=True)
    with tempfile.TemporaryDirectory() as name:
        model = save_drawn_model(Path(name) / "drawn", arguments.backbone)
        for side in arguments.sides:
            raster = mirrored_scene(Path(name) / f"{side}.tif", side)
            print(
                f"{side} px, DeepLabv3+ on {arguments.backbone}, {device_label(device)}, "
                f"{torch.get_num_threads()} threads, medians of {arguments.repeat}"
            )
            for backend in arguments.backends:
                for precision in arguments.precision:
                    batch = arguments.batch
                    compare(
                        Job(raster, model, Path(name), backend, precision, batch, device), arguments.repeat
                    )


if __name__ == "__main__":
    main()
