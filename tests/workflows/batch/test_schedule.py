"""The flow of Prefect runs for real: offline, on its own database, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import rasterio
import yaml
from rasterio.windows import Window
from servers.processes import kill, listens

pytest.importorskip("prefect", reason="the extra prefect is not installed")


@pytest.fixture
def jobs(tmp_path: Path, aerial_crop: Path, small_model: Path) -> Path:
    """A batch of two crops and a broken file."""
    with rasterio.open(aerial_crop) as scene:
        for number in range(2):
            values = scene.read(window=Window(100 * number, 0, 96, 96))
            profile = {"driver": "GTiff", "height": 96, "width": 96, "count": 3, "dtype": "uint8"}
            place = {"crs": scene.crs, "transform": scene.transform}
            with rasterio.open(tmp_path / f"crop_{number}.tif", "w", **profile, **place) as crop:
                crop.write(values)
    settings = {"model": str(small_model), "device": "cpu", "precision": "fp32", "format": ["zarr"]}
    path = tmp_path / "jobs.yaml"
    path.write_text(yaml.safe_dump({"defaults": settings, "jobs": [{"source": "crop_?.tif"}]}))
    return path


def environment_of(jobs: Path) -> dict[str, str]:
    """Return the variables under which Prefect works offline, on a database of its own."""
    environment = {**os.environ, "PREFECT_HOME": str(jobs.parent / "prefect"), "NO_COLOR": "1"}
    environment.pop("PREFECT_API_URL", None)
    return environment


def run_flow(jobs: Path, *options: str) -> subprocess.CompletedProcess[str]:
    code = "from segment_tiles.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "schedule", str(jobs), "--now", *options],
        env=environment_of(jobs), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def task_ends(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """Return how Prefect says that the tasks of a flow ended, by the names of the jobs: several are in flight."""
    return sorted(re.findall(r"Task run 'jobs-results/(\w+)' - Finished in state (\w+)", done.stderr))


@pytest.mark.slow  # Prefect's own server starts twice
def test_the_second_run_of_the_flow_skips_everything(jobs: Path) -> None:
    first = run_flow(jobs)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == ["jobs-results/crop_0: done", "jobs-results/crop_1: done"]
    assert task_ends(first) == [("crop_0", "Completed"), ("crop_1", "Completed")]
    assert (jobs.parent / "prefect" / "prefect.db").exists()
    maps = {path: path.stat().st_mtime_ns for path in (jobs.parent / "jobs-results").glob("*/report.json")}
    assert len(maps) == 2

    (jobs.parent / "crop_2.tif").write_text("broken")
    second = run_flow(jobs, "--retries", "1", "--retry-seconds", "0")
    assert second.returncode == 1
    assert re.search(
        r"error: 1 of 3 jobs failed, .*the first: jobs-results/crop_2: .*not a raster", second.stderr
    )
    assert {path: path.stat().st_mtime_ns for path in maps} == maps
    table = (jobs.parent / "jobs-results" / "jobs.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in table[1:]] == ["skipped", "skipped", "failed"]
    assert task_ends(second) == [("crop_0", "Cached"), ("crop_1", "Cached"), ("crop_2", "Failed")]
    assert "Retry 1/1" in second.stderr


BAD_WORDS = (
    ([], "give either --cron, such as '0 3 * * *'"),
    (["--now", "--cron", "0 3 * * *"], "give either --cron"),
    (["--cron", "every night"], "--cron is 'every night' in 'UTC'"),
    (["--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], "in 'Mars/Olympus'"),
)


def test_bad_words(jobs: Path) -> None:
    # a process of its own: Prefect sets up logging anew, which closes streams that libraries took from pytest
    code = (
        "import json, sys; from segment_tiles.cli.main import run_command_line;"
        f"[print(run_command_line(['schedule', {str(jobs)!r}, *words])) for words in json.loads(sys.argv[1])]"
    )
    every = json.dumps([words for words, _ in BAD_WORDS])
    done = subprocess.run([sys.executable, "-c", code, every], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2"] * len(BAD_WORDS), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(BAD_WORDS)
    for line, (_, message) in zip(lines, BAD_WORDS, strict=True):
        assert message in line


STARTED = (("--cron", "0 3 * * *"), ("--now",))


@pytest.mark.slow  # Prefect's own server starts each time
@pytest.mark.parametrize(
    ("words", "number"), [(STARTED[0], "SIGKILL"), (STARTED[0], "SIGHUP"), (STARTED[1], "SIGKILL")]
)
def test_a_server_of_a_schedule_ends_with_it(jobs: Path, words: tuple[str, ...], number: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", "schedule", str(jobs), *words],
        env=environment_of(jobs), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started: list[psutil.Process] = []
    deadline = time.monotonic() + 240
    while not any(listens(one) for one in started):  # it listens
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
        started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, number))
    process.wait(timeout=20)
    _, alive = psutil.wait_procs(started, timeout=10)
    kill(alive)
    assert not alive


def test_a_process_ends_with_another_that_is_not_its_parent() -> None:
    """As those of Prefect that run the flow: they end within seconds after the one that serves the schedule."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    code = (
        "import sys, time; from segment_tiles.pipeline.parent_process import end_with_process;"
        "end_with_process(int(sys.argv[1])); print('here', flush=True); time.sleep(300)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(other.pid)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        other.kill()  # and nobody has asked yet how it ended
        assert process.wait(timeout=10) == 1
    other.wait()
