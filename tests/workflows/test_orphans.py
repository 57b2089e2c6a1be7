"""Worker processes end with the process that started them, however that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio

from segment_tiles.pipeline.errors import RunFailedError, SourceError
from segment_tiles.workflows.vector_pool import worker_pool

HERE = Path(__file__).parent
sys.path.append(str(HERE))
import vector_workers  # noqa: E402

POOL = """
import sys
from pathlib import Path
sys.path.append({here!r})
import vector_workers
from segment_tiles.workflows.vector_pool import worker_pool
if __name__ == "__main__":
    with worker_pool(vector_workers.Sleeper, Path(sys.argv[1]), 2) as run:
        list(run("nap", [{seconds}] * 100))
"""
LOADER = """
import sys, time, os
from pathlib import Path
sys.path.append({here!r})
import torch
from segment_tiles.pipeline.learning.loading import WindowNumbers, batches
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
    for one in alive:
        one.kill()
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
