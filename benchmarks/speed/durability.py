"""What it costs that results survive a power cut: whole runs as they are, and without syncs and checksums.

    python -m benchmarks.speed.durability [--side 4096] [--pairs 5] [--model canopy-rgb] [--folder DIR]

Runs alternate in one process on one raster, with every default format; the first pair is not counted. "bare" has no
fsync, no CRC-32C in its chunks, and seals of nothing. ``--model light`` is a network of drawn weights that computes
as little as possible (MobileNetV3-small at half width), so that what is written weighs the most. ``--folder`` says
on which disk: a sync costs what the disk takes for it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from unittest import mock

from benchmarks.shared.commands import arguments_of
from benchmarks.shared.drawn_model import LIGHT_BACKBONE, save_drawn_model
from benchmarks.shared.quiet import Quiet
from benchmarks.shared.rasters import smooth_scene
from segment_tiles.pipeline.outputs.stores import store, volume_store
from segment_tiles.pipeline.outputs.stores.seals import Seal
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

SEALING = (
    "pipeline.outputs.stores.shard_writer",
    "pipeline.outputs.stores.seals",
    "pipeline.vectors.tile_ledger",
)


@contextmanager
def bare() -> Iterator[None]:
    """Take away what makes results durable."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(os, "fsync", return_value=None))
        for module in (store, volume_store):
            stack.enter_context(mock.patch.object(module, "COMPRESSORS", store.COMPRESSORS[:1]))
        for name in SEALING:
            target = f"segment_tiles.{name}.seal_of"
            stack.enter_context(mock.patch(target, lambda path: Seal(path.stat().st_size, 0)))
        yield


def timed(raster: Path, model: str, out: Path) -> tuple[float, float]:
    """Return seconds of a whole run, and of its computation."""
    config = RunConfig(str(raster), model, out, precision="fp32", backend="torch", device="cpu")
    started = perf_counter()
    report = segment(config, Quiet()).report
    seconds = perf_counter() - started
    shutil.rmtree(out)
    return seconds, report["seconds"]["segment"]


def main() -> None:
    """Print medians of both, and their ratio."""
    parser = arguments_of(__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--model", default="canopy-rgb")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        model = arguments.model
        if model == "light":
            model = str(save_drawn_model(folder / "light", LIGHT_BACKBONE))
        raster = smooth_scene(folder / "scene.tif", arguments.side)
        pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for number in range(arguments.pairs + 1):
            with bare():
                without = timed(raster, model, folder / "bare")
            pair = timed(raster, model, folder / "durable"), without
            if number:
                pairs.append(pair)
                print(f"durable {pair[0][0]:.2f} s, bare {pair[1][0]:.2f} s", flush=True)
    for index, what in enumerate(("whole run", "computation")):
        ours, bares = ([pair[which][index] for pair in pairs] for which in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(ours, bares, strict=True))
        print(
            f"{what}: durable {statistics.median(ours):.2f} s, bare {statistics.median(bares):.2f} s, "
            f"median of the ratios {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
