"""Commands that write into a bucket, killed, stopped and cut off: nothing is lost, nothing of a lost one is kept."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from servers.between import holding, serving, unreliable

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError, SourceChangedError
from segment_tiles.pipeline.places import attempts
from segment_tiles.pipeline.places.address import place_at


def test_a_killed_command_is_continued_from_the_bucket_alone(
    start: Callable[..., subprocess.Popen[str]],
    wait_for_rows: Callable[..., None],
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
) -> None:
    address = f"{bucket()}/maps"
    process = start(address, 1.0)
    wait_for_rows(address, 2, process)
    process.kill()
    process.wait()
    result = run_into(address)
    assert 0 < result.report["tiles"]["computed"] < result.report["tiles"]["planned"]
    same_as_in_folder(address)


def test_nothing_of_a_holder_that_was_stopped_is_in_the_result_of_the_next(
    start: Callable[..., subprocess.Popen[str]],
    wait_for_rows: Callable[..., None],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    tmp_path: Path,
) -> None:
    address = f"{bucket()}/maps"
    first = start(address, 1.0, "--overlap", "0.5", "--format", "parquet,cog")
    wait_for_rows(address, 1, first)
    first.send_signal(signal.SIGSTOP)
    second = start(address, 0.0, "--restart")
    _, said = second.communicate(timeout=180)
    assert second.returncode == 0, said
    assert "looking whether that process is still there" in said
    same_as_in_folder(address)
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=180)
    assert first.returncode == 1
    assert "took over meanwhile; nothing more is written by this one" in said
    assert "Traceback" not in said
    assert not [key for key in place_at(address).list() if "parquet" in key]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("key", ["classes.tif", "complete.json"])
def test_what_a_stopped_holder_had_sent_and_comes_late_is_not_written(
    key: str,
    start: Callable[..., subprocess.Popen[str]],
    same_as_in_folder: Callable[[str], None],
    s3: str,
    bucket: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"{bucket()}/maps"
    with holding(s3, key) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        first = start(address, 0.0, "--overlap", "0.5")
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
        assert between.held.wait(400)
        first.send_signal(signal.SIGSTOP)
        second = start(address, 0.0, "--restart")
        _, said = second.communicate(timeout=400)
        assert second.returncode == 0, said
        same_as_in_folder(address)
        between.let_go.set()
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=400)
        assert between.statuses == [412], "the store refuses it"
    assert first.returncode == 1
    assert "took over meanwhile; nothing more is written by this one" in said
    same_as_in_folder(address)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_errors_and_resets_at_random_are_survived(
    seed: int,
    s3: str,
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"{bucket()}/maps"
    monkeypatch.setattr(attempts, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.1)
    with unreliable(s3, seed) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        result = run_into(address)
        assert not result.failures
        assert len(between.failed) > 5
        assert result.report["place"]["retries"] == len(between.failed), "each is sent again, and counted"
        assert result.report["place"]["requests"] == len(between.asked), (
            "nothing is asked that is not counted"
        )
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    same_as_in_folder(address)


def test_rows_of_two_versions_of_a_source_are_not_mixed(
    scene: Path, run_into: Callable[..., Any], bucket: Callable[[], str], tmp_path: Path
) -> None:
    address, source = f"{bucket()}/maps", tmp_path / "scene.tif"
    shutil.copy(scene, source)

    class Changes:
        warn = stage = planned = staticmethod(lambda *_: None)

        def tiles(self, computed: int, skipped: int) -> None:
            source.write_bytes(scene.read_bytes() + b"more")

    with pytest.raises(SourceChangedError):
        run_into(address, Changes(), source=str(source))
    shutil.copy(scene, source)
    with pytest.raises(SegmentTilesError, match="--restart"):
        run_into(address, source=str(source))
    assert not run_into(address, source=str(source), restart=True).failures


class WrongClock(BaseHTTPRequestHandler):
    """Answers as S3 does to a machine whose clock is wrong."""

    asked: ClassVar[list[str]] = []

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(self.requestline)
        content = (
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>RequestTimeTooSkewed</Code><Message>The difference '
            b"between the request time and the current time is too large.</Message></Error>"
        )
        self.send_response(403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _refuse

    def log_message(self, *_: object) -> None: ...


@pytest.mark.usefixtures("s3")
def test_a_wrong_clock_is_said_before_anything_is_computed(
    small_model: Path, scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(WrongClock) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        began = time.monotonic()
        status = run_command_line(
            ["run", str(scene), "--model", str(small_model), "--out", "s3://bucket/maps"]
        )
        assert time.monotonic() - began < 60, "it is not asked again for three minutes"
    assert status == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "segment-tiles: error: s3://bucket/maps: the clock of this machine is wrong, so that the store takes no "
        "request; set it"
    )
    assert len(WrongClock.asked) == 1
