"""Worker processes end with the process that started them, however that ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from servers.processes import kill

from segment_tiles.pipeline.errors import RunFailedError, SourceError
from segment_tiles.workflows.polygons.vector_pool import worker_pool

HERE = Path(__file__).parent
sys.path.append(str(HERE))
import vector_workers  # noqa: E402

POOL = """
import sys
from pathlib import Path
sys.path.append({here!r})
import vector_workers
from segment_tiles.workflows.polygons.vector_pool import worker_pool
if __name__ == "__main__":
    with worker_pool(vector_workers.Sleeper, Path(sys.argv[1]), 2) as run:
        list(run("nap", [{seconds}] * 100))
"""
LOADER = """
import sys, time, os
from pathlib import Path
sys.path.append({here!r})
import torch
from segment_tiles.pipeline.learning.training.loading import WindowNumbers, batches
from segment_tiles.pipeline.learning.processes import TrainingProcess
class Windows(torch.utils.data.Dataset):
    def __getitem__(self, number):
        Path(sys.argv[1], f"{{os.getpid()}}.pid").touch()
        return torch.zeros(3, 64, 64), torch.zeros(64, 64)
if __name__ == "__main__":
    process = TrainingProcess()
    for _ in batches(Windows(), WindowNumbers(0, 1000, 2, process), 2, 2):
        time.sleep(60)
"""


def sent(process: subprocess.Popen[bytes], folder: Path, workers: int, number: int) -> list[psutil.Process]:
    """Send a signal once that many workers are at work; return all processes that were started."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.pid"))) < workers:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= workers
    process.send_signal(number)
    process.wait(timeout=20)
    return started


def left(started: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return who is alive after a time, and end them: a test that fails leaves nobody behind either."""
    _, alive = psutil.wait_procs(started, timeout=seconds)
    kill(alive)
    return alive


def started_program(tmp_path: Path, text: str, **values: object) -> tuple[subprocess.Popen[bytes], Path]:
    program, folder = tmp_path / "program.py", tmp_path / "pids"
    program.write_text(text.format(here=str(HERE), **values))
    folder.mkdir()
    return subprocess.Popen([sys.executable, str(program), str(folder)], start_new_session=True), folder


@pytest.mark.parametrize(("number", "seconds"), [("SIGKILL", 300), ("SIGTERM", 0.05), ("SIGHUP", 300)])
def test_workers_of_a_pool_end_with_their_client(tmp_path: Path, number: str, seconds: float) -> None:
    """Within a task, and between two: a worker that waits for a task waits for ever."""
    process, folder = started_program(tmp_path, POOL, seconds=seconds)
    started = sent(process, folder, 2, getattr(signal, number))
    assert not left(started, 10)


@pytest.mark.slow
def test_processes_that_read_for_a_training_end_with_it(tmp_path: Path) -> None:
    process, folder = started_program(tmp_path, LOADER)
    started = sent(process, folder, 2, signal.SIGKILL)
    assert not left(started, 4)  # torch itself looks every 5 s


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_polygonize_leaves_nobody_behind(tmp_path: Path, number: str) -> None:
    classes = np.random.default_rng(5).integers(0, 4, (3000, 3000), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "c.tif", "w", driver="GTiff", width=3000, height=3000, count=1, dtype="uint8", tiled=True,
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ) as out:  # fmt: skip
        out.write(classes, 1)
    command = [
        str(Path(sys.executable).with_name("segment-tiles")), "polygonize", str(tmp_path / "c.tif"), "--out",
        str(tmp_path / "p.parquet"), "--workers", "4", "--vector-tile", "256",
    ]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".p.parquet.tiles/*.arrow")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 5  # the fork server and its four
    process.send_signal(getattr(signal, number))
    process.wait(timeout=20)
    assert not left(started, 10)


CLUSTER = """
cluster: distributed.LocalCluster
arguments: {n_workers: 0, threads_per_worker: 1, dashboard_address: ":0"}
workers: 2
wait_seconds: 120
"""


def tall(path: Path, bands: int = 3) -> Path:
    """A raster of a dozen rows of shards, which takes a while."""
    values = np.random.default_rng(5).integers(1, 255, (bands, 512 * 12, 300), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=512 * 12, count=bands, dtype="uint8", tiled=True,
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ) as out:  # fmt: skip
        out.write(values)
    return path


def killed(
    words: list[str], is_at_work: Callable[[psutil.Process], bool], number: str
) -> list[psutil.Process]:
    """Start a command, send it a signal once it is at work, and return all processes that it had started."""
    program = str(Path(sys.executable).with_name("segment-tiles"))
    command = subprocess.Popen([program, *words], start_new_session=True, stderr=subprocess.DEVNULL)
    process, deadline = psutil.Process(command.pid), time.monotonic() + 120
    while not is_at_work(process):
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = process.children(recursive=True)
    command.send_signal(getattr(signal, number))
    command.wait(timeout=20)
    return started


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "batch"])
@pytest.mark.parametrize("number", ["SIGKILL", "SIGHUP"])
def test_workers_of_a_cluster_file_and_of_a_batch_end_with_the_command(
    tmp_path: Path, small_model: Path, command: str, number: str
) -> None:
    options = {"model": str(small_model), "device": "cpu", "precision": "fp32", "tile": 64, "format": "zarr"}
    scene, cluster, jobs = tall(tmp_path / "scene.tif"), tmp_path / "cluster.yaml", tmp_path / "jobs.yaml"
    cluster.write_text(CLUSTER)
    if command == "run":
        words = ["run", str(scene), "--out", str(tmp_path / "out"), "--cluster", str(cluster), "--quiet"]
        words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    else:
        defaults = {**options, "format": ["zarr"], "workers": 2}
        file = {
            "results": str(tmp_path),
            "defaults": defaults,
            "jobs": [{"source": str(scene), "out": "out"}],
        }
        jobs.write_text(json.dumps(file))
        words = ["batch", str(jobs), "--quiet"]
    started = killed(words, lambda _: any(tmp_path.glob("**/.segment-tiles/ledger/row-*.json")), number)
    assert len(started) >= 2
    assert not left(started, 10)


@pytest.mark.slow
def test_evaluate_leaves_nobody_behind(tmp_path: Path) -> None:
    """It works in its own process alone; if it ever starts others, they have to end with it."""
    classes = tall(tmp_path / "map.tif", bands=1)
    names = ",".join(f"c{number}" for number in range(255))
    words = ["evaluate", str(classes), str(classes), "--classes", names, "--out", str(tmp_path / "scores")]
    opened = lambda process: any(file.path == str(classes) for file in process.open_files())  # noqa: E731
    assert not left(killed(words, opened, "SIGKILL"), 10)


def test_a_worker_that_ends_while_the_pool_starts_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kill-1").touch()
    with worker_pool(vector_workers.Dying, tmp_path, 2) as run:
        assert list(run("double", range(20))) == [2 * number for number in range(20)]
    assert not list(tmp_path.iterdir())


def test_workers_that_always_end_are_an_error(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"kill-{number}").touch()
    with (
        pytest.raises(RunFailedError, match="a worker process ended by itself"),
        worker_pool(vector_workers.Dying, tmp_path, 2) as run,
    ):
        list(run("double", range(20)))


def test_what_a_worker_refuses_is_its_own_message(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(SourceError, match=r"scene\.tif: no such file"),
        worker_pool(vector_workers.refused, None, 2) as run,
    ):
        list(run("nap", [0]))
    assert "Traceback" not in capfd.readouterr().err
