"""One map, several ways, in one run: floors, ours, MONAI, pytorch-toolbelt, and the loop that a user would write.

    python -m benchmarks.speed.peers [--sizes 2048 4096] [--repeat 3] [--model canopy-rgb | --backbone resnet50]
        [--backends torch compile openvino onnx] [--precision fp32 bf16] [--contenders ours MONAI] [--device cuda]

The same weights, tiles of 512 px, 25 % overlap, from a GeoTIFF on disk to a class map on disk. The network is
a DeepLabv3+ on MobileNetV2 with drawn weights, unless another is named. Every
contender runs in a process of its own, in turn, ``--repeat`` times; medians are shown. Imports, loading and
converting the model and one warm-up pass are not counted, for anybody. A floor is the bare forward pass, in
the backend and precision in which ours runs the network, of as many tiles as the lattice has; "of floor"
compares ours with the floor of its own backend and precision, and peers with that of torch in float32. A
backend that is not installed, or does not compute in a precision, is left out and named.

On a GPU, "GPU %" is the share of time in which a kernel ran, as the driver counts it (needs nvidia-ml-py).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from benchmarks.shared.commands import arguments_of
from benchmarks.shared.drawn_model import save_drawn_model
from benchmarks.shared.rasters import mirrored_scene
from benchmarks.speed.contenders import OF_A_BACKEND, OVERLAP, PEERS, TILE, Job
from segment_tiles.pipeline.models.backends.known import BACKENDS
from segment_tiles.pipeline.models.devices import device_label, resolve_device, synchronize
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.process_memory import peak_resident_bytes

Key = tuple[str, str, str]
"""Contender, backend, precision."""
NAMES = (*OF_A_BACKEND, *PEERS)


class BusyShare:
    """Asks the driver twenty times a second how busy the GPU is."""

    def __init__(self, device: torch.device):
        self._device, self._samples = device, list[float]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> BusyShare:
        if self._device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._samples.append(torch.cuda.utilization(self._device))

    @property
    def percent(self) -> float:
        """Mean over the work; 0 on a processor."""
        return statistics.fmean(self._samples) if self._samples else 0.0


def one_contender(asked: list[str]) -> None:
    """Run one contender in this process and print its time and peak."""
    name, raster, model, backend, precision, batch, device = asked
    where = resolve_device(device)
    with tempfile.TemporaryDirectory(dir=Path(raster).parent) as folder:
        job = Job(Path(raster), Path(model), Path(folder), backend, precision, int(batch), where)
        work = (OF_A_BACKEND | PEERS)[name](job)
        with BusyShare(where) as busy:
            started, spent = time.perf_counter(), time.process_time()
            work()
            synchronize(where)
            seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_resident_bytes(), "gpu": busy.percent}))


def jobs_of(arguments: argparse.Namespace, device: torch.device) -> list[Key]:
    """Return what is run: ours and its floor by backend and precision, peers as they are."""
    jobs: list[Key] = []
    for backend in arguments.backends:
        reason = BACKENDS[backend].unavailable(device)
        if reason is not None:
            print(f"left out: {backend}: {reason}")
            continue
        for precision in arguments.precision:
            if precision in BACKENDS[backend].precisions(device):
                jobs += [(name, backend, precision) for name in OF_A_BACKEND if name in arguments.contenders]
            else:
                print(f"left out: {backend} {precision}: not computed in on {device}")
    return jobs + [(name, "torch", "fp32") for name in PEERS if name in arguments.contenders]


def measure(
    raster: Path, model: Path, jobs: list[Key], arguments: argparse.Namespace
) -> dict[Key, dict[str, float]]:
    """Run all contenders in turn, several times, and return the medians."""
    results: dict[Key, list[dict[str, float]]] = {job: [] for job in jobs}
    for _ in range(arguments.repeat):
        for name, backend, precision in jobs:
            options = [
                name,
                str(raster),
                str(model),
                backend,
                precision,
                str(arguments.batch),
                arguments.device,
            ]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.speed.peers", "--as", *options],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            results[name, backend, precision].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        job: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for job, rows in results.items()
    }


def ratio(row: dict[str, float], base: dict[str, float] | None, key: str) -> str:
    """Return a quotient, or a dash where there is nothing to divide by."""
    return "-" if base is None else f"{row[key] / base[key]:.2f}"


def print_table(results: dict[Key, dict[str, float]], side: int) -> None:
    """Print one line per contender."""
    heads = (
        ("s", 8), ("CPU s", 7), ("Mpx/s", 7), ("of floor", 9), ("of toolbelt", 12), ("of MONAI", 9),
        ("peak MB", 8), ("of MONAI", 9), ("GPU %", 6),
    )  # fmt: skip
    print(" " * 24, *(f"{head:>{width}}" for head, width in heads))
    peers = {name: results.get((name, "torch", "fp32")) for name in PEERS}
    for (name, backend, precision), row in results.items():
        own = results.get(("floor", backend, precision))
        figures = (
            f"{row['seconds']:.2f}", f"{row['cpu']:.1f}", f"{side * side / 1e6 / row['seconds']:.2f}",
            ratio(row, own, "seconds"), ratio(row, peers["pytorch-toolbelt"], "seconds"),
            ratio(row, peers["MONAI"], "seconds"), f"{row['peak'] / 1e6:.0f}",
            ratio(row, peers["MONAI"], "peak"), f"{row['gpu']:.0f}",
        )  # fmt: skip
        label = name if name in PEERS else f"{name} {backend} {precision}"
        cells = (f"{text:>{width}}" for text, (_, width) in zip(figures, heads, strict=True))
        print(f"{label:>24}", *cells, flush=True)


def main() -> None:
    """Print one table per size."""
    if "--as" in sys.argv:
        one_contender(sys.argv[2:])
        return
    parser = arguments_of(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", help="bundled model, or folder of a model package")
    parser.add_argument(
        "--backbone", default="mobilenetv2_100", help="of the network where no model is named"
    )
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--contenders", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--batch", type=int, default=1, help="tiles of a forward pass, of floors and ours")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    jobs = jobs_of(arguments, device)
    network = arguments.model or f"DeepLabv3+ on {arguments.backbone}"
    print(
        f"model {network}, tile {TILE}, overlap {OVERLAP} px, batch {arguments.batch}, on "
        f"{device_label(device)}, {torch.get_num_threads()} threads"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.model is not None:
            model = find_model(arguments.model)
        else:
            model = save_drawn_model(Path(folder) / "drawn", arguments.backbone)
        for side in arguments.sizes:
            raster = mirrored_scene(Path(folder) / f"{side}.tif", side)
            print(f"\n{side} x {side} px, median of {arguments.repeat}")
            print_table(measure(raster, model, jobs, arguments), side)


if __name__ == "__main__":
    main()
