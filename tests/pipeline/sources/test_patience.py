"""A server that falls silent ends a read in a bounded time; one that is away for a moment or slow does not."""

from __future__ import annotations

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

from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources import ome_zarr, patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.patience import GaveUpError, Patience

VALUES = np.random.default_rng(0).integers(0, 255, (1, 512, 512), dtype=np.uint8)
SOON = {"GDAL_HTTP_LOW_SPEED_TIME": 1, "GDAL_HTTP_MAX_RETRY": 0, "VSI_CACHE": False}
"""So that tests need not wait: what matters is that GDAL hears of it."""


class Files(BaseHTTPRequestHandler):
    """Serves a folder; `mode` says how."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    mode = "good"
    ended = threading.Event()

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if Files.mode == "silent":
            self.close_connection = True
            Files.ended.wait(60)
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
    Files.folder, Files.mode = tmp_path, "good"
    Files.ended.clear()
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
