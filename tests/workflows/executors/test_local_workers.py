"""Worker processes of this machine: their faults, and Ctrl-C."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from servers.processes import kill, started_by

from segment_tiles.pipeline.errors import RunFailedError, UsageError
from segment_tiles.workflows.executors import InProcess, executor_for
from segment_tiles.workflows.executors.dask_cluster.local_workers import gpu_of_worker, threads_of_worker
from segment_tiles.workflows.executors.interruption import FINISHING, Interruption
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.run.segment import segment

INTERRUPTED = "segment-tiles: error: interrupted; the same command goes on where this one stopped"


def start(words: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command as a terminal does: Ctrl-C reaches it and every process that it starts."""
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_cluster_that_was_given_up_says_nothing_on_the_terminal_of_a_command(
    scenario: Any, tmp_path: Path
) -> None:
    """Found by `make fuzz`: Dask goes on trying for a moment, and logs a traceback."""
    (tmp_path / "cluster.yaml").write_text(
        "cluster: dask.distributed.LocalCluster\narguments: {n_workers: 1, a: null}\nworkers: 1\n"
    )
    process = start(scenario.command(tmp_path / "out", "--cluster", str(tmp_path / "cluster.yaml")))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "LocalCluster cannot be started" in said
    assert all(line.startswith("segment-tiles: ") for line in said.splitlines()), said


@pytest.mark.slow
def test_interrupted_twice_stops_at_once_and_once_finishes_the_rows_in_work(
    scenario: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ledger = out / ".segment-tiles" / "ledger"
    process = start(scenario.command(out, "--workers", "1"))
    scenario.wait_for_row(out, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)  # the hand that comes down again
    os.killpg(process.pid, signal.SIGINT)
    asked = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - asked < 10
    assert errors.splitlines()[-1] == INTERRUPTED
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive, "no worker is left behind"
    rows_before = set(ledger.glob("row-*.json"))
    process = start(scenario.command(out, "--workers", "1"))
    deadline = time.monotonic() + 120
    while set(ledger.glob("row-*.json")) <= rows_before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    rows_then = set(ledger.glob("row-*.json"))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines() == [f"segment-tiles: warning: {FINISHING}", INTERRUPTED]
    assert set(ledger.glob("row-*.json")) > rows_then, "the row in work was finished"
    assert not (out / "classes.zarr").exists()
    result = segment(scenario.config(out), scenario.recorder())
    assert 0 < result.report["tiles"]["computed"] < result.report["tiles"]["planned"]
    assert scenario.bytes_of(out) == scenario.whole


@pytest.mark.slow
def test_a_region_whose_workers_end_three_times_is_listed(scenario: Any, tmp_path: Path) -> None:
    """Each of the three processes has to load everything again: half a minute."""
    config = scenario.config(tmp_path, workers=1)
    killed: set[int] = set()

    def kill_worker() -> None:
        workers = [one for one in started_by(psutil.Process(), "spawn_main") if one.pid not in killed]
        kill(workers)
        killed.update(one.pid for one in workers)

    told: list[str] = []
    with executor_for(config, told.append) as executor:
        result = segment(config, scenario.recorder(kill_worker), executor)
    assert len(killed) == 3
    (failure,) = result.failures
    assert failure["reason"].startswith("3 workers ended while they did it")
    assert any("scheduler:" in line for line in told), "the log of the scheduler"
    assert segment(scenario.config(tmp_path), scenario.recorder()).failures == []
    assert scenario.bytes_of(tmp_path) == scenario.whole


@pytest.mark.slow
def test_more_memory_than_the_limit_ends_a_worker_and_not_the_machine(scenario: Any, tmp_path: Path) -> None:
    """Three processes load everything, one after the other: half a minute."""
    config = scenario.config(tmp_path, workers=1, memory=900_000_000)
    with executor_for(config, lambda text: None) as executor:
        assert executor.start().memory == 900_000_000
        with pytest.raises(RunFailedError, match="3 workers ended"):
            executor.call(hoard, 2_000_000_000)


def hoard(size: int) -> int:
    """Take memory and keep it for a while."""
    taken = b"x" * size
    time.sleep(30)
    return len(taken)


class Collector(InProcess):
    """Keeps the tasks of a run."""

    tasks: Sequence[RegionTask] = ()

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        self.tasks = tasks
        return super().run(tasks, progress, interruption)


def test_a_task_is_small_plain_data(scenario: Any, tmp_path: Path) -> None:
    collector = Collector()
    segment(scenario.config(tmp_path), scenario.recorder(), collector)
    (task,) = collector.tasks
    data = pickle.dumps(task)
    assert len(data) < 4096, "no model, no pixels"
    assert b"torch." not in data, "nothing that loads it"
    assert pickle.loads(data) == task


def test_workers_can_start_before_torch_is_imported() -> None:
    code = (
        "import sys, segment_tiles.cli.commands.run, segment_tiles.workflows.executors.dask_cluster.local_workers;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_of_worker(1) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert threads_of_worker(3) == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert threads_of_worker(20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "6,2")
    assert threads_of_worker(2)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert int(threads_of_worker(2)["OMP_NUM_THREADS"]) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.5, 1.5, 3.0, 4.5])
def test_ctrl_c_while_workers_start(scenario: Any, tmp_path: Path, after: float) -> None:
    process = start(scenario.command(tmp_path / "out", "--workers", "1", "--quiet"))
    time.sleep(after)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive, "no worker is left behind"


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_workers_end_with_their_client(scenario: Any, tmp_path: Path, number: str) -> None:
    out = tmp_path / "out"
    process = start(scenario.command(out, "--workers", "2", "--quiet"))
    scenario.wait_for_row(out, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(getattr(signal, number))
    process.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive, "no worker is left behind"


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 1.0, 2.5])
def test_a_worker_that_ends_while_workers_start_is_replaced(
    scenario: Any, tmp_path: Path, after: float
) -> None:
    out = tmp_path / "out"
    process = start(scenario.command(out, "--workers", "2", "--quiet"))
    workers: list[psutil.Process] = []
    while not workers:
        assert process.poll() is None
        workers = started_by(psutil.Process(process.pid), "spawn_main", recursive=False)
        time.sleep(0.02)
    time.sleep(after)
    kill(workers[:1])
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert scenario.bytes_of(out) == scenario.whole


def test_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_of_worker(0, "cpu") == {}
    if not torch.cuda.is_available():
        assert gpu_of_worker(0, "auto") == {}
        pytest.skip("needs a GPU: each worker would get the next one")
    count = torch.cuda.device_count()
    names = [gpu_of_worker(number, "cuda")["CUDA_VISIBLE_DEVICES"] for number in range(count)]
    assert len(set(names)) == count


def test_places_exclude_each_other(scenario: Any, tmp_path: Path) -> None:
    for changes, words in (
        (
            {"workers": 2, "scheduler": "tcp://a:1"},
            "--workers 2 and --scheduler tcp://a:1 exclude each other",
        ),
        ({"workers": 0}, "--workers is 0; give a number from 1 to"),
        ({"workers": 2, "device": "cuda:1"}, "--device cuda:1 with --workers 2"),
    ):
        with pytest.raises(UsageError, match=words):
            segment(scenario.config(tmp_path / "out", **changes), scenario.recorder())
    assert not (tmp_path / "out").exists()
