"""How busy the workers of a cluster are while a batch goes on: from Dask's task stream, and by simulation.

    python -m benchmarks.batches.cluster_busy [--workers 2] [--scenes 40] [--model canopy-rgb]
    python -m benchmarks.batches.cluster_busy --simulate [--workers 64] [--scenes 2000]

The scenes are crops of the one that ships with the program, of one to six tiles each. "Busy" is the time that
workers spent in tasks, of all their time between the beginning of the first task and the end of the last. The
simulation gives tasks that sleep for 0.5 to 2 s to workers in this process, through the same stream of jobs.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from distributed import Client, LocalCluster
from rasterio.windows import Window

from benchmarks.shared.commands import arguments_of
from benchmarks.shared.quiet import Quiet
from benchmarks.shared.rasters import crop_of_scene, size_of_scene
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.run import run_jobs
from segment_tiles.workflows.batch.stream.job_stream import JobStream
from segment_tiles.workflows.batch.stream.shared_executor import SharedExecutor
from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.executors.dask_cluster import worker
from segment_tiles.workflows.executors.dask_cluster.dask_settings import dask_settings
from segment_tiles.workflows.executors.interruption import Interruption


def busy(stream: list[dict[str, Any]], workers: int) -> tuple[float, float]:
    """Return the share of time in tasks, and the seconds between the first and the last."""
    spans = [
        (span["start"], span["stop"])
        for task in stream
        if "call" in task["key"] or "region" in task["key"]
        for span in task["startstops"]
        if span["action"] == "compute" and span["stop"] - span["start"] > 0.05
    ]
    first, last = min(start for start, _ in spans), max(stop for _, stop in spans)
    return sum(stop - start for start, stop in spans) / workers / (last - first), last - first


def write_scenes(folder: Path, count: int) -> None:
    """Write crops of 256 x 256 px to 1024 x 1024 px."""
    folder.mkdir()
    chance = random.Random(1)
    rows, columns = size_of_scene()
    for number in range(count):
        height, width = (chance.choice((256, 512, 768, 1024)) for _ in "hw")
        window = Window(chance.randrange(columns - width), chance.randrange(rows - height), width, height)
        crop_of_scene(folder / f"scene-{number:03}.tif", window)


def real(asked: argparse.Namespace) -> None:
    """Print one line for a batch, and one for the same jobs one after the other."""
    with (
        tempfile.TemporaryDirectory() as name,
        dask_settings(),
        LocalCluster(n_workers=asked.workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        folder = Path(name)
        write_scenes(folder / "scenes", asked.scenes)
        for title in ("warm", "in flight", "one after the other"):
            file = folder / f"{title.replace(' ', '-')}.json"
            defaults = {"model": asked.model, "scheduler": cluster.scheduler_address, "format": ["cog"]}
            pattern = "scenes/scene-00*.tif" if title == "warm" else "scenes/*.tif"
            file.write_text(json.dumps({"defaults": defaults, "jobs": [{"source": pattern}]}))
            jobs = list_jobs(read_jobs_file(file))
            client.get_task_stream()  # begins to record
            begun = time.time()
            if title == "one after the other":
                for job in jobs:
                    run_jobs([job], Quiet(), results=None, title="")
            else:
                run_jobs(jobs, Quiet(), results=None, title="")
            share, seconds = busy(client.get_task_stream(start=begun), asked.workers)
            if title != "warm":
                print(
                    f"{title:>22}: {len(jobs)} scenes, {asked.workers} workers: {share:.1%} busy, {seconds:.1f} s"
                )


def sleep(seconds: float, _is_stopped: Any, _is_aborted: Any) -> float:
    """Stand for a scene."""
    time.sleep(seconds)
    return seconds


class Sleepers(JobStream):
    """Jobs that sleep: no Plan says that the first one computes."""

    def begin(self) -> None:
        """Say so."""
        self._has_begun.set()


def simulated(asked: argparse.Namespace) -> None:
    """Print one line for jobs that sleep."""
    chance = random.Random(1)
    seconds = [chance.uniform(0.5, 2.0) for _ in range(asked.scenes)]
    with (
        mock.patch.object(worker, "_one_region_at_a_time", nullcontext()),  # all workers live in this process
        dask_settings(),
        LocalCluster(
            n_workers=asked.workers, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        SharedExecutor(lambda _: None, in_flight=True) as shared,
    ):
        config = run_config_from(
            source="scene.tif", out=Path("out"), model=asked.model, scheduler=cluster.scheduler_address
        )
        jobs = [Job(number + 1, f"scene-{number}", config, 1) for number in range(asked.scenes)]

        def run(job: Job, *_: Any) -> JobOutcome:
            with shared.of(job.config) as executor:
                executor.start()
                stream.begin()
                executor.do_whole(sleep, seconds[job.number - 1], Interruption())
            return JobOutcome(job, "done")

        client.get_task_stream()
        begun = time.time()
        stream = Sleepers(run, Quiet(), lambda _: None, lambda *_: None, Interruption(), shared.capacity)
        stream.run(jobs)
        share, taken = busy(client.get_task_stream(start=begun, count=10 * asked.scenes), asked.workers)
        print(
            f"{'simulated':>22}: {asked.scenes} scenes, {asked.workers} workers: {share:.1%} busy, {taken:.1f} s"
        )


def main() -> None:
    """Print the lines that were asked for."""
    parser = arguments_of(__doc__)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--scenes", type=int)
    parser.add_argument("--model", default="canopy-rgb")
    parser.add_argument("--simulate", action="store_true")
    asked = parser.parse_args()
    asked.workers = asked.workers or (64 if asked.simulate else 2)
    asked.scenes = asked.scenes or (2000 if asked.simulate else 40)
    if asked.simulate:
        simulated(asked)
    else:
        real(asked)


if __name__ == "__main__":
    main()
