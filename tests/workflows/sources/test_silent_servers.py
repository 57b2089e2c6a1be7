"""A server that falls silent ends a read in a bounded time; one that is away for a moment or slow does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.patience import GaveUpError, Patience
from segment_tiles.pipeline.sources.pyramids import ome_zarr

VALUES = np.random.default_rng(0).integers(0, 255, (1, 512, 512), dtype=np.uint8)
SOON = {"GDAL_HTTP_LOW_SPEED_TIME": 1, "GDAL_HTTP_MAX_RETRY": 0, "VSI_CACHE": False}
"""So that tests need not wait: what matters is that GDAL hears of it."""


class Files(BaseHTTPRequestHandler):
    """Serves a folder; `mode` says how."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    mode = "good"
    silent_from = 0
    """First byte of a file about which the server is silent in the mode `silent`."""
    ended = threading.Event()
    busy_answers = 0
    """How many requests beyond the first bytes of a file are refused for now."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        first = self.headers.get("Range", "bytes=0").removeprefix("bytes=").partition("-")[0]
        if Files.mode == "silent" and int(first) >= Files.silent_from:
            self.close_connection = True
            Files.ended.wait(60)
            return
        if Files.busy_answers and int(first) > 0:
            Files.busy_answers -= 1
            self.send_error(503)
            return
        path = Files.folder / self.path.lstrip("/").partition("?")[0]
        if Files.mode == "away" or not path.is_file():
            self.send_error(503 if Files.mode == "away" else 404)
            return
        content, span = path.read_bytes(), self.headers.get("Range")
        start, stop = 0, len(content)
        if span is not None:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(stop, int(last) + 1 if last else stop)
        self.send_response(200 if span is None else 206)
        self.send_header("Content-Length", str(stop - start))
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self._send(content[start:stop])

    def _send(self, body: bytes) -> None:
        if Files.mode != "slow":
            self.wfile.write(body)
            return
        for start in range(0, len(body), len(body) // 25 + 1):  # 2.5 s and more, a trickle at a time
            self.wfile.write(body[start : start + len(body) // 25 + 1])
            self.wfile.flush()
            time.sleep(0.1)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=512, height=512, count=1, dtype="uint8", tiled=True,
        blockxsize=64, blockysize=64, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as dataset:  # fmt: skip
        dataset.write(VALUES)
    array: Any = zarr.create_array(tmp_path / "a.zarr", shape=(512, 512), chunks=(128, 512), dtype="uint8")
    array[:] = VALUES[0]
    Files.folder, Files.mode, Files.silent_from = tmp_path, "good", 0
    Files.ended.clear()
    Files.busy_answers = 0
    service = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}"
    Files.ended.set()
    service.shutdown()
    service.server_close()


@pytest.fixture
def open_zarr_soon(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.setattr(ome_zarr, "SILENCE_SECONDS", 1)
    return open_source


def _seconds(call: Callable[[], Any], error: type[Exception]) -> float:
    started = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - started


def test_a_silent_server_is_lost_once_for_all_rows(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.4)
    source = open_source(f"{server}/a.tif?silent", settings=SOON)
    Files.mode = "silent"
    assert 1 <= _seconds(lambda: source.read(Window(100, 0, 64, 512)), ReadFailedError) < 15
    assert _seconds(lambda: source.read(Window(300, 0, 64, 512)), ReadFailedError) < 0.5
    source.close()


def test_a_silent_server_is_no_source(server: str) -> None:
    Files.mode = "silent"
    opened = f"{server}/a.tif?none"
    assert 1 <= _seconds(lambda: open_source(opened, settings=SOON), SourceError) < 15
    with pytest.raises(SourceError, match="check the address, and that the server answers"):
        open_source(opened, settings=SOON)


def test_a_server_that_is_away_for_seconds_is_survived(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(f"{server}/a.tif?away", settings=SOON)
    Files.mode = "away"
    back = threading.Timer(2.0, lambda: setattr(Files, "mode", "good"))
    back.start()
    np.testing.assert_array_equal(source.read(Window(400, 0, 64, 512)), VALUES[:, 400:464])
    source.close()
    back.join()


def test_a_read_that_is_tried_again_is_in_the_log_with_scene_and_reason(
    server: str, grey_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SOON.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    Files.busy_answers, log = 6, tmp_path / "log"
    words = [
        f"{server}/a.tif?token=s3cr3t",
        f"--model={grey_model}",
        f"--out={tmp_path / 'out'}",
        "--format=zarr",
    ]
    options = ["--device=cpu", "--precision=fp32", "--quiet", f"--log-file={log}", "--log-format=json"]
    assert run_command_line(["run", *words, *options]) == 0
    assert "s3cr3t" not in log.read_text()
    again = [line for line in map(json.loads, log.read_text().splitlines()) if "attempt" in line]
    # GDAL asks for several ranges first, and again one by one, before a read fails
    assert again[0]["attempt"] == 1
    assert not Files.busy_answers
    assert all(line["level"] == "WARNING" and "a.tif, band 1: " in line["reason"] for line in again)
    assert {line["scene"] for line in again} == {f"{server}/a.tif"}


def test_a_slow_and_steady_download_is_not_cut(server: str) -> None:
    source = open_source(f"{server}/a.tif?slow", settings=SOON)
    Files.mode = "slow"
    started = time.monotonic()
    np.testing.assert_array_equal(source.read(Window(256, 0, 64, 512)), VALUES[:, 256:320])
    assert time.monotonic() - started > 2 * SOON["GDAL_HTTP_LOW_SPEED_TIME"]
    source.close()


def test_a_silent_store_of_zarr(
    server: str, open_zarr_soon: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.4)
    source = open_zarr_soon(f"{server}/a.zarr")
    np.testing.assert_array_equal(source.read(Window(0, 0, 64, 512)), VALUES[:, :64])
    Files.mode = "silent"
    assert 1 <= _seconds(lambda: source.read(Window(300, 0, 64, 512)), ReadFailedError) < 15
    assert _seconds(lambda: source.read(Window(400, 0, 64, 512)), ReadFailedError) < 0.5
    assert _seconds(lambda: open_zarr_soon(f"{server}/a.zarr"), SourceError) < 15
    source.close()


def test_a_run_keeps_what_it_has_of_a_server_that_falls_silent(
    server: str,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, exit status 1, finished rows kept; when the server is back, the same command goes on."""
    values = np.random.default_rng(1).integers(0, 255, (3, 1500, 200), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", width=200, height=1500, count=3, dtype="uint8", tiled=True,
        blockxsize=64, blockysize=64, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
        interleave="pixel",
    ) as dataset:  # fmt: skip
        dataset.write(values)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.4)
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    Files.mode, Files.silent_from = "silent", (tmp_path / "b.tif").stat().st_size * 2 // 3
    command = ["run", f"{server}/b.tif?mid-run", "--model", str(small_model), "--out", str(tmp_path / "out")]
    command += [
        "--format",
        "zarr",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--backend",
        "torch",
        "--batch",
        "2",
    ]
    started = time.monotonic()
    assert run_command_line([*command, "--quiet"]) == 1
    assert time.monotonic() - started < 20
    lines = capsys.readouterr().err.splitlines()
    (failed,) = [line for line in lines if line.startswith("segment-tiles: failed: ")]
    assert "rows 1024 to 1500" in failed
    assert "b.tif" in failed
    assert "See previous exception" not in failed
    assert sum(line.startswith("segment-tiles: error: ") for line in lines) == 1
    kept = list((tmp_path / "out").glob(".segment-tiles/ledger/row-*.json"))
    assert kept, "finished rows"
    Files.mode = "good"
    assert run_command_line([*command, "--quiet"]) == 0
    local = ["run", str(tmp_path / "b.tif"), *command[2:5], str(tmp_path / "local"), *command[6:], "--quiet"]
    assert run_command_line(local) == 0
    ours, theirs = (
        zarr.open_array(tmp_path / name / "classes.zarr" / "classes") for name in ("out", "local")
    )
    np.testing.assert_array_equal(ours[:], theirs[:])


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def fail(seconds: float) -> None:
        calls.append(now[0])
        now[0] += seconds
        raise OSError("nobody there")

    with pytest.raises(GaveUpError) as quick:
        Patience(5, (OSError,)).read(lambda: fail(0.0))
    assert quick.value.summary == "tried 5 times: nobody there"
    assert calls == [0.0, 0.5, 1.5, 3.5, 7.5]
    slow = Patience(5, (OSError,))
    with pytest.raises(GaveUpError, match="nobody"):
        slow.read(lambda: fail(40.0))  # a long download that broke off is tried again all the same
    assert len(calls) == 7
    with pytest.raises(GaveUpError, match="nobody"):
        slow.read(lambda: fail(0.0))
    assert len(calls) == 7, "lost: not asked again"
    other: dict[str, int] = {}
    with pytest.raises(KeyError):  # nothing that waiting helps against
        Patience(3, (OSError,)).read(lambda: other["x"])
