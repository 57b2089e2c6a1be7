"""Runs on a scheduler and workers that are other processes, of an installation of their own, in other folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.executors import executor_for
from segment_tiles.workflows.run.segment import segment


def test_the_bytes_are_those_of_one_process(scenario: Any, two_workers: Any, tmp_path: Path) -> None:
    listener = scenario.recorder()
    result = segment(scenario.config(tmp_path, scheduler=two_workers.address), listener)
    assert len(listener.plan.regions) >= 2
    assert listener.done == listener.plan.tiles, "all progress of the workers came through"
    assert result.report["status"] == "complete"
    assert result.report["workers"] == 2
    assert result.report["memory"]["peak_bytes"] > 0
    assert scenario.bytes_of(tmp_path) == scenario.whole


def test_a_bundled_model_and_relative_paths_are_found_by_workers_elsewhere(
    scenario: Any, two_workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(scenario.raster, "scene.tif")
    x, y = 400000, 5600000
    changes = {"model": "canopy-rgb", "tile": None, "overlap": None, "roi": (x, y - 100, x + 100, y)}
    changes["resolution"] = "native"
    config = scenario.config(Path("out"), source="scene.tif", scheduler=two_workers.address, **changes)
    assert segment(config, scenario.recorder()).report["status"] == "complete"


def test_a_worker_killed_in_the_middle_is_replaced(scenario: Any, two_workers: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        if not killed:
            process = two_workers.worker_processes()[0]
            process.kill()
            killed.append(process.pid)

    told: list[str] = []
    config = scenario.config(tmp_path, scheduler=two_workers.address)
    with executor_for(config, told.append) as executor:
        result = segment(config, scenario.recorder(kill_one), executor)
    assert killed
    assert result.failures == []
    assert scenario.bytes_of(tmp_path) == scenario.whole
    assert killed[0] not in [process.pid for process in two_workers.worker_processes()]


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_which_can_be_resumed(
    scenario: Any, installation: Any, taller_raster: Path, tmp_path: Path
) -> None:
    """The raster is so tall that nearly all of it is left when its first row of shards is on disk."""
    scenario = scenario.of(taller_raster)
    out = tmp_path / "out"
    with scenario.cluster(installation, tmp_path, 1) as cluster:
        process = subprocess.Popen(
            scenario.command(out, "--scheduler", cluster.address, "--quiet"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        scenario.wait_for_row(out, process)
        cluster.scheduler.kill()
        lost = time.monotonic()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert time.monotonic() - lost < 20
    assert len(errors.strip().splitlines()) == 1, errors
    assert "scheduler" in errors
    assert "is gone" in errors
    result = segment(scenario.config(out), scenario.recorder())
    assert 0 < result.report["tiles"]["computed"] < result.report["tiles"]["planned"]
    segment(scenario.config(tmp_path / "whole"), scenario.recorder())
    assert scenario.bytes_of(out) == scenario.bytes_of(tmp_path / "whole")


def test_an_output_directory_that_workers_do_not_see_is_refused(
    scenario: Any, two_workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/self/cwd is another folder in every process, as a disk without a share is on every machine."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs /proc")
    monkeypatch.chdir(tmp_path)
    config = scenario.config(Path("/proc/self/cwd/out"), scheduler=two_workers.address)
    with pytest.raises(UsageError, match=r"worker tcp://.*: the output directory .* \d of \d workers"):
        segment(config, scenario.recorder())
    assert not list(Path("out").rglob("seen-by-workers*"))


def test_a_source_that_workers_do_not_see_is_refused(
    scenario: Any, two_workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs /proc")
    monkeypatch.chdir(tmp_path)
    shutil.copy(scenario.raster, "scene.tif")
    source = "/proc/self/cwd/scene.tif"
    config = scenario.config(tmp_path / "out", source=source, scheduler=two_workers.address)
    with pytest.raises(UsageError, match=r"worker tcp://.*scene\.tif: no such file.*\d of \d workers"):
        segment(config, scenario.recorder())


def test_workers_of_another_version_are_refused(scenario: Any, installation: Any, tmp_path: Path) -> None:
    (metadata,) = installation.site.glob("segment_tiles-*.dist-info/METADATA")
    other = tmp_path / "other" / "segment_tiles-9.9.9.dist-info"
    other.mkdir(parents=True)
    lines = metadata.read_text().splitlines()
    lines = ["Version: 9.9.9" if line.startswith("Version:") else line for line in lines]
    (other / "METADATA").write_text("\n".join(lines))
    with scenario.cluster(installation, tmp_path, 1, PYTHONPATH=str(other.parent)) as cluster:
        config = scenario.config(tmp_path / "out", scheduler=cluster.address)
        with executor_for(config, print) as executor:
            for _ in range(2):  # the next scene of a batch is refused as the first one
                with pytest.raises(
                    UsageError, match=r"worker tcp://.* has segment-tiles 9\.9\.9, this process has"
                ):
                    segment(config, scenario.recorder(), executor)


def test_a_region_that_fails_three_times_is_listed_and_the_rest_goes_on(
    scenario: Any, two_workers: Any, tmp_path: Path
) -> None:
    """A model package that is taken away while the run is on its way: one Region names what is not there."""
    config = scenario.config(tmp_path, scheduler=two_workers.address)
    told: list[str] = []
    with executor_for(config, told.append) as executor:
        do_all = executor.run

        def spoiled(tasks: Any, progress: Any, interruption: Any) -> Any:
            broken = replace(
                tasks[0], model=replace(tasks[0].model, models=((str(tmp_path / "taken-away"), "0" * 64),))
            )
            return do_all([broken, *tasks[1:]], progress, interruption)

        executor.run = spoiled  # type: ignore[method-assign]
        listener = scenario.recorder()
        first = segment(config, listener, executor)
        executor.run = do_all  # type: ignore[method-assign]
        (failure,) = first.failures
        region = listener.plan.regions[0]
        assert failure["window"]["row"] == region.row
        assert failure["window"]["height"] == region.height
        assert "tried 3 times" in failure["reason"]
        assert "taken-away" in failure["reason"]
        assert any("worker" in line and "Compute Failed" in line for line in told), "the log of the worker"
        done = len(list((tmp_path / ".segment-tiles" / "ledger").glob("row-*.json")))
        assert done == 5 - -(-region.height // 512), "the rest went on"
        again = segment(config, scenario.recorder(), executor)
    assert again.failures == []
    assert scenario.bytes_of(tmp_path) == scenario.whole


def test_an_unreachable_scheduler_is_refused_in_seconds(
    scenario: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = "tcp://127.0.0.1:9"
    with executor_for(scenario.config(tmp_path, scheduler=address), print) as executor:
        started = time.monotonic()
        with pytest.raises(UsageError, match=f"--scheduler {address}: no Dask scheduler answers"):
            executor.start()
        assert time.monotonic() - started < 20
    assert capfd.readouterr().err == "", "Dask says nothing of its own"


def test_all_scenes_of_a_batch_go_to_one_cluster(
    scenario: Any, two_workers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = {
        "defaults": {
            "model": str(scenario.model), "tile": 128, "overlap": 0.25, "precision": "fp32", "device": "cpu",
            "format": ["zarr"], "scheduler": two_workers.address,
        },
        "out": "maps/{stem}",
        "jobs": [{"source": "scenes/*.tif"}],
        "results": "maps",
    }  # fmt: skip
    (tmp_path / "scenes").mkdir()
    for name in ("a", "b"):
        shutil.copy(scenario.raster, tmp_path / "scenes" / f"{name}.tif")
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(jobs))
    assert run_command_line(["batch", str(tmp_path / "jobs.yaml"), "--json"]) == 0, capsys.readouterr().err
    for name in ("a", "b"):
        report = json.loads((tmp_path / "maps" / name / "report.json").read_text())
        assert report["workers"] == 2
        assert scenario.bytes_of(tmp_path / "maps" / name) == scenario.whole
