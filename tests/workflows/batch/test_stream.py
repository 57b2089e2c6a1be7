"""Jobs in flight at once: the bytes of single runs, one failure alone, memory within its limit, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.workflows.batch.jobs import list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.results.table import job_row
from segment_tiles.workflows.batch.run import run_batch
from segment_tiles.workflows.batch.stream import whole_scenes
from segment_tiles.workflows.executors.dask_cluster.slots import Slots
from segment_tiles.workflows.executors.in_process import InProcess
from segment_tiles.workflows.executors.protocol import Capacity
from segment_tiles.workflows.run.in_flight import ALONE, Room
from segment_tiles.workflows.run.segment import segment

SIDES = (
    (96, 96),
    (64, 64),
    (300, 200),
    (96, 130),
    (420, 400),
    (96, 96),
    (64, 190),
    (150, 96),
    (96, 64),
    (80, 80),
)
"""Height and width of scenes; the fifth has more tiles than one worker does as a whole."""


@pytest.fixture
def ten(
    tmp_path: Path, aerial_crop: Path, jobs_file: Callable[..., Path], write_crop: Callable[..., Path]
) -> Path:
    """A batch of ten crops of different sizes, each with every output."""
    for number, (height, width) in enumerate(SIDES):
        write_crop(aerial_crop, tmp_path / f"crop_{number}.tif", 40 * number, 30 * number, height, width)
    return jobs_file(
        {"source": "crop_*.tif"}, out="{results}/{stem}", defaults={"format": ["zarr", "cog", "parquet"]}
    )


def bytes_of(out: Path) -> dict[str, str]:
    """Checksums of everything that must be the same: not of reports, which hold times, and of the books beside them."""
    files = (path for path in out.rglob("*") if path.is_file() and ".segment-tiles" not in path.parts)
    return {
        path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in {"report.json", "item.json"}
    }


ALONE_ONCE: dict[str, dict[str, str]] = {}
"""Bytes of the ten scenes, each run by itself: the same for every test."""


def alone(file: Path, folder: Path, recorder: Any) -> dict[str, dict[str, str]]:
    """Run every job of the ten by itself into another folder, unless that was done before, and return its bytes."""
    for job in list_jobs(read_jobs_file(file)) if not ALONE_ONCE else []:
        out = folder / job.config.out.name
        segment(job.config.__class__(**{**fields_of(job.config), "out": out, "workers": None}), recorder)
        ALONE_ONCE[job.config.out.name] = bytes_of(out)
    return ALONE_ONCE


def fields_of(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


def test_jobs_in_flight_have_the_bytes_of_single_runs(ten: Path, tmp_path: Path, recorder: Any) -> None:
    at_once: set[int] = set()
    in_work = [0]

    def starts(*_: Any) -> None:
        in_work[0] += 1
        at_once.add(in_work[0])

    def ends(*_: Any) -> None:
        in_work[0] -= 1

    recorder.job_starts, recorder.job_ends = starts, ends
    result = run_batch(read_jobs_file(ten), recorder)
    assert [outcome.state for outcome in result.outcomes] == ["done"] * 10
    assert max(at_once) > 2, "jobs went one after the other"
    for outcome in result.outcomes:  # what is kept of a report is all that the table shows
        whole = json.loads((outcome.job.config.out / "report.json").read_text())
        assert job_row(outcome) == job_row(replace(outcome, report=whole))
    expected = alone(ten, tmp_path / "alone", recorder)
    for name, files in expected.items():
        assert "classes.tif" in files
        assert bytes_of(tmp_path / "jobs-results" / name) == files


def test_workers_do_small_scenes_as_a_whole_with_the_same_bytes(
    ten: Path, tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[str] = []
    do = whole_scenes.segment_on_worker

    def noted(config: Any, *arguments: Any) -> Any:
        result = do(config, *arguments)
        whole.append(f"{config.out.name} {result is not None}")
        return result

    finished: list[str] = []

    def noted_too(computed: Any, config: Any, *arguments: Any) -> Any:
        result = whole_scenes.finish_on_worker(computed, config, *arguments)
        finished.append(f"{config.out.name} {result is not None}")
        return result

    monkeypatch.setattr("segment_tiles.workflows.batch.run.segment_on_worker", noted)
    monkeypatch.setattr("segment_tiles.workflows.batch.run.finish_on_worker", noted_too)
    ten.write_text(ten.read_text().replace("defaults:", "defaults:\n  workers: 2"))
    result = run_batch(read_jobs_file(ten), recorder)
    assert [outcome.state for outcome in result.outcomes] == ["done"] * 10
    # the first one chooses, the last two are shared by both workers, and one is too large
    assert sorted(whole) == [f"crop_{n} {n != 4}" for n in range(1, 8)]
    # those that were divided, or computed first, are finished on one worker all the same
    assert sorted(finished) == [f"crop_{n} True" for n in (0, 4, 8, 9)]
    assert not recorder.warnings
    expected = alone(ten, tmp_path / "alone", recorder)
    assert {name: bytes_of(tmp_path / "jobs-results" / name) for name in expected} == expected


class Elsewhere(InProcess):
    """Says that Regions are done elsewhere, and does them here."""

    def start(self) -> Capacity:
        return Capacity(is_elsewhere=True)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_a_worker_cannot_finish_the_client_does(
    is_damaged: bool, ten: Path, tmp_path: Path, recorder: Any
) -> None:
    job = list_jobs(read_jobs_file(ten))[3]
    workers = Elsewhere()
    computed = segment(job.config, recorder, workers, leaves_finishing=True)
    assert computed.awaits_finishing
    assert not (job.config.out / "classes.tif").exists()
    if is_damaged:
        shards = [path for path in job.config.out.rglob("classes/c/*/*") if path.is_file()]
        shards[0].write_bytes(shards[0].read_bytes()[:-9])
    finished = whole_scenes.finish_on_worker(computed, job.config, recorder, workers, ALONE)
    assert (finished is None) is is_damaged
    if is_damaged:
        segment(job.config, recorder)
    out = tmp_path / "alone"
    segment(replace(job.config, out=out), recorder)
    assert "classes.tif" in bytes_of(out)
    assert bytes_of(job.config.out) == bytes_of(out)


@pytest.mark.parametrize("workers", ["", pytest.param("\n  workers: 2", marks=pytest.mark.slow)])
def test_a_scene_that_fails_among_others_fails_alone_and_warnings_name_their_job(
    ten: Path, tmp_path: Path, recorder: Any, workers: str
) -> None:
    for number in (2, 6):
        (tmp_path / f"crop_{number}.tif").write_bytes(b"this was a picture once")
    for number in (3, 8):
        with rasterio.open(tmp_path / f"crop_{number}.tif", "r+") as scene:
            scene.scales = (2.0, 2.0, 2.0)
    ten.write_text(ten.read_text().replace("defaults:", f"defaults:{workers}"))
    result = run_batch(read_jobs_file(ten), recorder)
    states = [outcome.state for outcome in result.outcomes]
    assert [n for n, state in enumerate(states) if state == "failed"] == [2, 6]
    assert all(f"crop_{outcome.job.number - 1}.tif" in str(outcome.error) for outcome in result.failures)
    told = [text for text in recorder.warnings if "scale" in text]
    assert sorted(text.partition(": ")[0] for text in told) == ["jobs-results/crop_3", "jobs-results/crop_8"]


def start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", "batch", str(file)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def six_larger(
    tmp_path: Path, aerial_crop: Path, jobs_file: Callable[..., Path], write_crop: Callable[..., Path]
) -> Path:
    """A batch of six crops of 320 px, 7 tiles by 7 each."""
    for number in range(6):
        write_crop(aerial_crop, tmp_path / f"crop_{number:02}.tif", 40 * number, 50 * number, 320, 320)
    return jobs_file({"source": "crop_*.tif"}, out="{results}/{stem}")


@pytest.mark.parametrize(
    ("workers", "times"),
    [
        ("", 1),
        pytest.param("", 2, marks=pytest.mark.slow),
        pytest.param("\n  workers: 2", 1, marks=pytest.mark.slow),
        pytest.param("\n  workers: 2", 2, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_all_jobs_in_flight_and_the_next_start_goes_on(
    six_larger: Path, tmp_path: Path, recorder: Any, workers: str, times: int
) -> None:
    six_larger.write_text(six_larger.read_text().replace("defaults:", f"defaults:{workers}"))
    with start(six_larger) as process:
        assert process.stderr is not None
        assert any(": done, " in line for line in process.stderr)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
        begun = time.monotonic()
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert time.monotonic() - begun < 30
    assert "Traceback" not in said
    assert "the same command goes on" in said
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]
    six_larger.write_text(six_larger.read_text().replace("workers: 2", "item: true"))
    result = run_batch(read_jobs_file(six_larger), recorder)
    states = [outcome.state for outcome in result.outcomes]
    assert not result.failures
    assert "skipped" in states
    assert "done" in states
    sample = [job for job in list_jobs(read_jobs_file(six_larger)) if states[job.number - 1] == "done"][:1]
    for job in sample:
        out = tmp_path / "alone" / job.config.out.name
        segment(job.config.__class__(**{**fields_of(job.config), "out": out, "workers": None}), recorder)
        assert bytes_of(job.config.out) == bytes_of(out)


@given(
    st.integers(1, 100),
    st.lists(st.lists(st.integers(0, 150), min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_stages_take_no_more_than_the_memory_or_go_alone(limit: int, runs: list[list[int]]) -> None:
    room, lock, taken, wrong = Room(limit), threading.Lock(), [], []  # type: ignore[var-annotated]

    def run(amounts: list[int]) -> None:
        for amount in amounts:
            with room.taken(amount):
                with lock:
                    taken.append(amount)
                    if len(taken) > 1 and sum(taken) > limit:
                        wrong.append([*taken])
                time.sleep(0)
                with lock:
                    taken.remove(amount)

    threads = [threading.Thread(target=run, args=(amounts,)) for amounts in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "a stage waits for ever"
    assert not wrong


@given(st.integers(1, 5), st.integers(1, 12))
def test_no_more_is_given_out_than_there_are_slots(limit: int, takers: int) -> None:
    slots, woken = Slots(), []
    slots.tell(lambda: woken.append(1))
    taken = [slots.take(limit) for _ in range(takers)]
    assert sum(taken) == min(limit, takers)
    slots.give_back()
    assert woken == [1]
    assert slots.take(limit)
