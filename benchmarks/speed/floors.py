"""Ours against its own floor, turn by turn in one process: what slows the host slows both.

    python -m benchmarks.speed.floors [--sides 4096] [--repeat 3] [--backends torch openvino] [--precision fp32 bf16]
        [--backbone mobilenetv2_100] [--device cuda] [--rewritten]

A floor is the bare forward pass, in the same backend and precision, of as many tiles as the lattice has. Ours is
everything from the GeoTIFF to the Zarr store. `peers.py` runs each in a process of its own, and shows its memory;
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

import torch

from benchmarks.shared.commands import arguments_of
from benchmarks.shared.drawn_model import save_drawn_model
from benchmarks.shared.rasters import mirrored_scene
from benchmarks.speed.contenders import OF_A_BACKEND, Job, floor
from segment_tiles.pipeline.models.backends.known import BACKENDS
from segment_tiles.pipeline.models.devices import device_label, resolve_device, synchronize


def turn(name: str, job: Job) -> tuple[float, int]:
    """Get a contender ready, run it once, and return its seconds and page faults."""
    work = OF_A_BACKEND[name](job)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    started = time.perf_counter()
    work()
    synchronize(job.device)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


def compare(job: Job, repeat: int) -> None:
    """Print medians and their ratio, and the turns that they come from."""
    turns: dict[str, list[tuple[float, int]]] = {name: [] for name in OF_A_BACKEND}
    for _ in range(repeat):
        for name, rows in turns.items():
            with tempfile.TemporaryDirectory(dir=job.out) as out:
                rows.append(turn(name, replace(job, out=Path(out))))
    floor, ours = (statistics.median(seconds for seconds, _ in turns[name]) for name in ("floor", "ours"))
    faults = statistics.median(count for _, count in turns["ours"])
    each = ", ".join(f"{a:.2f}/{b:.2f}" for (a, _), (b, _) in zip(turns["ours"], turns["floor"], strict=True))
    print(
        f"{job.backend} {job.precision}: floor {floor:.2f} s, ours {ours:.2f} s, ratio {ours / floor:.3f}, "
        f"faults {faults:.0f} (ours/floor: {each})",
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
