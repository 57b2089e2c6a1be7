"""Whole batches on real crops: what fails is listed, what is finished is skipped, what changed is noticed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pytest

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.run import run_batch
from segment_tiles.workflows.run.segment import segment

BROKEN = ("crop_03.tif", "crop_08.tif")


@pytest.fixture
def twelve(
    tmp_path: Path, shared_data: Path, jobs_file: Callable[..., Path], write_crop: Callable[..., Path]
) -> Path:
    """A batch of 12 crops of two real scenes, two of them broken."""
    for number in range(12):
        name = ("aerial/yellowstone.tif", "aerial/soaproot_061.tif")[number % 2]
        write_crop(
            shared_data / name, tmp_path / "scenes" / f"crop_{number:02}.tif", 20 * number, 25 * number
        )
    (tmp_path / "scenes" / BROKEN[0]).write_bytes(b"this was a picture once")
    whole = (tmp_path / "scenes" / BROKEN[1]).read_bytes()
    (tmp_path / "scenes" / BROKEN[1]).write_bytes(whole[: len(whole) // 3])
    return jobs_file({"source": "scenes/*.tif"}, results="maps", out="maps/{stem}")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "jobs.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_two_broken_scenes_of_twelve_stop_nothing(
    twelve: Path,
    tmp_path: Path,
    shared_data: Path,
    capsys: pytest.CaptureFixture[str],
    write_crop: Callable[..., Path],
) -> None:
    assert run_command_line(["batch", str(twelve), "--json"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["states"] == {"done": 10, "failed": 2}
    assert "error: 2 jobs failed; the same command tries them again" in printed.err
    for name in BROKEN:
        listed = [line for line in printed.err.splitlines() if f"failed: maps/{Path(name).stem}: " in line]
        assert len(listed) == 1
        assert f"{tmp_path}/scenes/{name}" in listed[0]
    assert "Traceback" not in printed.err

    rows = table(tmp_path / "maps")
    assert [row["state"] for row in rows].count("done") == 10
    for row in rows:
        if row["state"] == "done":
            pixels = sum(int(row[f"pixels {name}"]) for name in ("other", "tree", "water", "nodata"))
            assert pixels == 96 * 96
            # to a thousandth or two: a pixel of UTM is not quite its size on the ellipsoid
            assert float(row["area tree"]) == pytest.approx(int(row["pixels tree"]) * 0.01, rel=2e-3)
            assert row["area_unit"] == "m2"
            assert float(row["seconds_total"]) > 0
            assert (Path(row["out"]) / "classes.zarr").is_dir()
        else:
            assert row["error"]
            assert row["area tree"] == ""
    parquet = pq.read_table(tmp_path / "maps" / "jobs.parquet").to_pylist()
    assert [row["state"] for row in parquet] == [row["state"] for row in rows]
    assert isinstance(parquet[0]["pixels tree"], int)

    collection = pystac.Collection.from_file(str(tmp_path / "maps" / "collection.json"))
    assert {item.id for item in collection.get_items()} == {
        row["job"].split("/")[1] for row in rows if row["state"] == "done"
    }
    collection.validate()
    whole = next(row for row in rows if row["state"] == "done")
    (Path(whole["out"]) / "item.json").write_text("{}")
    assert run_command_line(["batch", str(twelve), "--json"]) == 1
    said = capsys.readouterr().err
    assert f"collection.json goes without {whole['job']}: " in said
    assert "remove it and start the same run again" in said
    smaller = pystac.Collection.from_file(str(tmp_path / "maps" / "collection.json"))
    assert len([*smaller.get_items()]) == 9
    for box in (item.bbox for item in collection.get_items()):
        west, south, east, north = collection.extent.spatial.bboxes[0]
        assert box is not None
        assert west <= box[0]
        assert south <= box[1]
        assert east >= box[2]
        assert north >= box[3]

    write_crop(shared_data / "aerial/yellowstone.tif", tmp_path / "scenes" / BROKEN[0], 300, 300)
    assert run_command_line(["batch", str(twelve)]) == 1
    printed = capsys.readouterr()
    assert "10 skipped" in printed.out
    assert "1 done" in printed.out
    assert "1 failed" in printed.out
    assert "error: 1 job failed" in printed.err
    states = {row["job"]: row["state"] for row in table(tmp_path / "maps")}
    assert states["maps/crop_03"] == "done"
    assert states["maps/crop_08"] == "failed"


@pytest.fixture
def two(
    tmp_path: Path, aerial_crop: Path, jobs_file: Callable[..., Path], write_crop: Callable[..., Path]
) -> Path:
    """A batch of two crops of the scene that ships with the program."""
    for number in range(2):
        write_crop(aerial_crop, tmp_path / f"crop_{number}.tif", 100 * number, 100)
    return jobs_file({"source": "crop_*.tif"}, out="{results}/{stem}")


@pytest.fixture
def states(recorder: Any) -> Callable[..., list[str]]:
    """Runs a batch and returns the states of its jobs."""

    def run(file: Path, **options: bool) -> list[str]:
        return [outcome.state for outcome in run_batch(read_jobs_file(file), recorder, **options).outcomes]

    return run


def test_a_changed_scene_is_noticed_and_done_again_when_asked(
    two: Path,
    aerial_crop: Path,
    states: Callable[..., list[str]],
    recorder: Any,
    write_crop: Callable[..., Path],
) -> None:
    assert states(two) == ["done", "done"]
    write_crop(aerial_crop, two.parent / "crop_1.tif", 500, 500)
    changed = run_batch(read_jobs_file(two), recorder)
    assert [outcome.state for outcome in changed.outcomes] == ["skipped", "changed"]
    assert "source version was" in (changed.failures[0].error or "")
    again = run_batch(read_jobs_file(two), recorder, restart_changed=True)
    assert [outcome.state for outcome in again.outcomes] == ["skipped", "done"]
    assert "begun anew" in recorder.warnings[0]
    assert states(two) == ["skipped", "skipped"]


def test_a_changed_setting_is_noticed_and_restart_begins_all_anew(
    two: Path, states: Callable[..., list[str]]
) -> None:
    assert states(two) == ["done", "done"]
    two.write_text(two.read_text().replace("defaults:", "defaults:\n  blend: crop"))
    assert states(two) == ["changed", "changed"]
    assert states(two, restart=True) == ["done", "done"]
    assert states(two) == ["skipped", "skipped"]


def test_dry_run_sums_the_plans_and_writes_nothing(
    two: Path, capsys: pytest.CaptureFixture[str], states: Callable[..., list[str]]
) -> None:
    before = sorted(two.parent.rglob("*"))
    assert run_command_line(["batch", str(two), "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(two.parent.rglob("*")) == before
    plans = [job["plan"] for job in document["jobs"]]
    summary = document["summary"]
    assert summary["to_do"] == 2
    assert summary["tiles"] == sum(plan["tiles"] for plan in plans) == 8
    assert summary["disk_bytes"] == sum(plan["disk_bytes"] for plan in plans)
    assert summary["expected_seconds"] == pytest.approx(sum(plan["expected_seconds"] for plan in plans))
    assert states(two) == ["done", "done"]
    assert run_command_line(["batch", str(two), "--dry-run"]) == 0
    assert "0 to do, 2 finished" in capsys.readouterr().out
    (two.parent / "crop_1.tif").write_bytes(b"broken")
    assert run_command_line(["batch", str(two), "--dry-run"]) == 2
    assert "would fail: jobs-results/crop_1" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_batch_goes_on(
    tmp_path: Path,
    two: Path,
    aerial_crop: Path,
    states: Callable[..., list[str]],
    recorder: Any,
    write_crop: Callable[..., Path],
) -> None:
    write_crop(aerial_crop, tmp_path / "crop_2.tif", 0, 0, 600, 600)
    with subprocess.Popen(
        [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", "batch", str(two)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "1 of 3" in line:
                process.send_signal(signal.SIGINT)
                break
        errors = process.stderr.read()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "the same command goes on" in errors
    found = {row["job"]: row["state"] for row in table(tmp_path / "jobs-results")}
    assert found["jobs-results/crop_0"] == "done"
    assert found["jobs-results/crop_2"] == "waiting"
    result = run_batch(read_jobs_file(two), recorder)
    assert result.outcomes[0].state == "skipped"
    assert not result.failures
    assert states(two) == ["skipped"] * 3


def test_what_nobody_foresaw_fails_its_own_scene_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_data: Path,
    jobs_file: Callable[..., Path],
    write_crop: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        write_crop(shared_data / "aerial/soaproot_061.tif", tmp_path / "scenes" / f"{name}.tif", 0, 0)
    file = jobs_file({"source": "scenes/*.tif"}, results="maps", out="maps/{stem}")
    whole = segment

    def fail_once(config: Any, *arguments: Any, **options: Any) -> Any:
        if "a.tif" in config.source:
            raise KeyError("a library's own affair")
        return whole(config, *arguments, **options)

    monkeypatch.setattr("segment_tiles.workflows.batch.run.segment", fail_once)
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["batch", str(file), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["states"] == {"failed": 1, "done": 1}
    assert "this was not foreseen (KeyError: " in printed.err
    assert len(list(tmp_path.glob("segment-tiles-error-*.txt"))) == 1
