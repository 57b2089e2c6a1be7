"""A log that somebody reads in the morning: which scene, which rows, what was tried again and why; no secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.logs.context import log_context, logged_as
from segment_tiles.workflows.logs.formats import JsonFormatter, TextFormatter
from segment_tiles.workflows.logs.output import LogConfig, logging_as

SECRET = "s3cr3tToken"
COMMAND = str(Path(sys.executable).with_name("segment-tiles"))


def write_scene(path: Path, height: int = 96) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (3, height, 96), np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=96, height=height, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5600000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> tuple[Path, Any]:
    """A batch of the real command: a whole scene, a broken one, one behind a server that has a secret in its name."""
    folder = tmp_path_factory.mktemp("night")
    write_scene(folder / "whole.tif")
    (folder / "broken.tif").write_bytes(b"II*\0 not really")
    jobs = [{"source": "whole.tif"}, {"source": "broken.tif"},
            {"source": f"http://127.0.0.1:9/far.tif?token={SECRET}", "name": "far"}]  # fmt: skip
    defaults = {"model": str(small_model), "format": ["cog"], "device": "cpu", "precision": "fp32"}
    (folder / "jobs.yaml").write_text(yaml.safe_dump({"defaults": defaults, "jobs": jobs}))
    done = subprocess.run(
        [COMMAND, "batch", "jobs.yaml", "--log-file", "night.log", "--log-format", "json", "--json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return folder, done


def test_a_batch_with_a_broken_scene_says_which_and_why(night: tuple[Path, Any]) -> None:
    folder, done = night
    assert done.returncode == 1
    lines = lines_of(folder / "night.log")
    assert all({"time", "level", "logger", "process", "message"} <= set(line) for line in lines)
    broken = [line for line in lines if line.get("job", "").endswith("broken") and line["level"] == "ERROR"]
    assert len(broken) == 1
    assert broken[0]["scene"].endswith("broken.tif")
    assert "ends early or is damaged" in broken[0]["reason"]
    assert broken[0]["reason"] in done.stderr
    whole = [line["message"] for line in lines if line.get("job", "").endswith("whole")]
    assert whole[0].startswith("begins: job 1")
    assert whole[-1].startswith("ends: done")
    steps = [
        "begins",
        "opened: raster of 96 x 96 pixels, 3 bands of uint8",
        "Choice: ",
        "plan: ",
        "Region of rows 0 to 96",
    ]
    steps += ["rows 0 to 96, columns 0 to 96", "stage: ", "written: ", "ends: done"]
    found = [next(n for n, text in enumerate(whole) if text.startswith(step)) for step in steps]
    assert found == sorted(found)
    assert lines[0]["message"].endswith(
        "begins: batch jobs.yaml --log-file night.log --log-format json --json"
    )
    assert lines[-1]["message"] == "ends with status 1"


def test_stderr_is_what_it_was_without_v(night: tuple[Path, Any]) -> None:
    _, done = night
    assert json.loads(done.stdout)["states"] == {"done": 1, "failed": 2}
    assert done.stderr.splitlines()[-1].endswith("2 jobs failed; the same command tries them again")
    assert all(line.startswith("segment-tiles: ") for line in done.stderr.splitlines())


def test_no_secret_is_in_a_log(night: tuple[Path, Any]) -> None:
    folder, _ = night
    text = (folder / "night.log").read_text()
    assert "http://127.0.0.1:9/far.tif" in text
    assert SECRET not in text
    for formatter in (JsonFormatter(), TextFormatter()):
        record = logging.makeLogRecord({
            "msg": "%s", "args": (f"https://me:{SECRET}@host/a?sig={SECRET}",), "levelname": "INFO",
            "name": "segment_tiles.a", "reason": f"https://host/b.tif?sig={SECRET}",
            "exc_text": f"OSError: /vsicurl/https://host/c?sig={SECRET}", "window": {"of": f"http://h/d?{SECRET}"},
        })  # fmt: skip
        with logged_as(scene=f"https://host/e?{SECRET}"):
            assert SECRET not in formatter.format(record)


def test_v_logs_on_stderr_and_vv_in_detail(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    words = ["run", str(scene), f"--model={small_model}", "--format=zarr", "--device=cpu", "--precision=fp32"]
    before = list(logging.getLogger("segment_tiles").handlers)
    assert run_command_line([*words, f"--out={tmp_path / 'a'}", "-v"]) == 0
    text = capsys.readouterr().err
    assert " INFO " in text
    assert " DEBUG " not in text
    assert "rows 0 to 96, columns 0 to 96 of plane 0 are on disk" in text
    assert run_command_line([*words, f"--out={tmp_path / 'a'}", "-v", "--quiet"]) == 0
    text = capsys.readouterr().err
    assert "goes on with what an earlier start left: all rows are done" in text
    assert "was finished before" in text
    assert run_command_line([*words, f"--out={tmp_path / 'b'}", "--quiet"]) == 0
    assert not capsys.readouterr().err
    assert logging.getLogger("segment_tiles").handlers == before
    assert logging.getLogger("segment_tiles").level == logging.NOTSET


@pytest.mark.slow
def test_workers_log_where_the_run_was_started(small_model: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", 1200)
    done = subprocess.run(
        [COMMAND, "run", str(scene), f"--model={small_model}", f"--out={tmp_path / 'out'}", "--format=zarr",
         "--device=cpu", "--precision=fp32", "--workers=2", f"--log-file={tmp_path / 'log'}", "--log-format=json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = lines_of(tmp_path / "log")
    rows = [line for line in lines if line["logger"].endswith("shard_writer")]
    assert {line["row"] for line in rows} == {0, 512, 1024}
    assert lines[0]["process"] not in {line["process"] for line in rows}


@pytest.mark.parametrize(("words", "message"), [
    (["--log-format", "json"], "--log-format is json, but nothing is logged; add --log-file FILE, or -v"),
    (["-v", "--log-format", "xml"], "--log-format is 'xml'; it must be one of text, json"),
    (["--log-file", "none/log"], "--log-file none/log: cannot be written (No such file or directory)"),
    (["--log-file", "https://host/log"], "is a URL; give a file on a disk"),
])  # fmt: skip
def test_a_log_that_cannot_be_is_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["run", "a.tif", "--model", "m", "--out", "o", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_ends_the_log_and_not_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with logging_as(LogConfig(log_file=full)):
        for _ in range(3):
            logging.getLogger("segment_tiles.a").info("a line")
    text = "--log-file /dev/full: cannot be written (No space left on device); the log ends here"
    assert capsys.readouterr().err.splitlines() == [f"segment-tiles: warning: {text}"]


def test_a_log_is_gone_on_with_and_names_what_is_in_work(tmp_path: Path) -> None:
    for number in range(2):
        with logging_as(LogConfig(log_file=tmp_path / "log")), logged_as(job=f"night/{number}"):
            logging.getLogger("segment_tiles.a").warning("one\nline", extra={"row": 3})
            logging.getLogger("segment_tiles.a").debug("not in detail")
            logging.getLogger("botocore").warning("what libraries say stays out")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"WARNING a [job night/{n}] one line" for n in range(2)
    ]
    assert not log_context()
