"""A run into a bucket over the same run onto disk: whole commands in turn, requests for a shard, memory and Plan.

    python -m benchmarks.batches.buckets [--side 4096] [--repeat 3] [--workers N] [--model canopy-rgb]

The bucket is that of moto's server on loopback, a process of Python that computes on the same cores: what a real store
takes of a machine is less, and its answers come later. Zarr alone is written, without preview.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.shared.commands import PROGRAM, arguments_of, timed
from benchmarks.shared.rasters import mirrored_scene
from tests.servers.local import moto

AFTER_THE_REPORT = 10
"""Requests that report.json does not count: itself, what says that the result is whole, rows that go, the lease."""


def report_of(address: str) -> dict[str, dict[str, float]]:
    """Return the report of a run into a bucket."""
    from segment_tiles.pipeline.places.address import place_at  # noqa: PLC0415 - after the environment is set

    found = place_at(address).read("report.json")
    assert found is not None
    report: dict[str, dict[str, float]] = json.loads(found.data)
    return report


def shards_of(store: Path) -> int:
    """Return how many shards a store has, overviews included."""
    return sum(path.is_file() and path.name != "zarr.json" for path in store.rglob("*"))


def print_costs(
    pairs: list[tuple[float, float]], report: dict[str, dict[str, float]], shards: int, side: int
) -> None:
    """Print the ratio of pairs of seconds, onto disk and into the bucket, and what the last run asked and took."""
    ratios = [disk / bucket for disk, bucket in pairs]
    place, memory = report["place"], report["memory"]
    print(
        f"throughput into the bucket over that onto disk: {statistics.median(ratios):.3f} in the median of pairs"
    )
    requests = place["requests"] + AFTER_THE_REPORT
    print(
        f"requests: {requests}, {place['retries']} of them sent again, for {shards} shards, overviews included: "
        f"{requests / shards:.2f} for each shard, {requests / side**2 * 1e9:.0f} for a gigapixel"
    )
    print(f"peak memory {memory['peak_bytes'] / 1e6:.0f} MB, planned {memory['planned_bytes'] / 1e6:.0f} MB")


def main() -> None:
    """Print seconds of both, their ratio in each pair, and what was asked of the bucket."""
    parser = arguments_of(__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--model", default="canopy-rgb")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="benchmark-buckets-"))
    try:
        raster = mirrored_scene(folder / "scene.tif", asked.side)
        options = [
            "--model", asked.model, "--format", "zarr", "--no-preview", "--quiet", "--resolution", "native",
            *([] if asked.workers is None else ["--workers", str(asked.workers)]),
        ]  # fmt: skip
        with moto(folder) as server:
            os.environ.update(server.settings)
            address_of_all = server.bucket("benchmark")
            pairs, report, shards = [], {}, 0
            for number in range(asked.repeat + 1):
                out, address = folder / f"out-{number}", f"{address_of_all}/out-{number}"
                disk, _ = timed([PROGRAM, "run", str(raster), "--out", str(out), *options])
                bucket, _ = timed([PROGRAM, "run", str(raster), "--out", address, *options])
                shards, report = shards_of(out / "classes.zarr"), report_of(address)
                shutil.rmtree(out)
                if number:  # the first pair warms up
                    pairs.append((disk, bucket))
                    print(f"disk {disk:.2f} s, bucket {bucket:.2f} s", flush=True)
        print_costs(pairs, report, shards, asked.side)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
