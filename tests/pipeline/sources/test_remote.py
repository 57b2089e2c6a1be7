"""Rasters behind a URL: a real server on this machine that understands ranges, and one that breaks off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source


class Files(BaseHTTPRequestHandler):
    """Serves ranges of one file; answers 503 once it has been told to fail."""

    content = b""
    fails = False
    served = 0

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if Files.fails or not self.path.startswith("/a.tif"):
            self.send_error(503 if Files.fails else 404)
            return
        span = self.headers.get("Range")
        start, stop = 0, len(Files.content)
        if span is not None:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(stop, int(last) + 1 if last else stop)
        self.send_response(200 if span is None else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(Files.content)}")
        self.end_headers()
        if with_body:
            Files.served += stop - start
            self.wfile.write(Files.content[start:stop])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    values = np.random.default_rng(0).integers(0, 255, (3, 1024, 1024), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=1024, height=1024, count=3, dtype="uint8", tiled=True,
        blockxsize=128, blockysize=128, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    Files.content, Files.fails, Files.served = (tmp_path / "a.tif").read_bytes(), False, 0
    service = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{service.server_port}"
    service.shutdown()
    service.server_close()


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_a_window_is_read_without_the_rest(server: str, tmp_path: Path, prefix: str) -> None:
    source = open_source(f"{prefix}{server}/a.tif?{prefix.strip('/')}")
    window = Window(300, 200, 64, 64)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        expected = dataset.read()[:, 300:364, 200:264]
    np.testing.assert_array_equal(source.read(window), expected)
    assert Files.served < len(Files.content) / 2
    source.close()


def test_what_is_not_there_is_named(server: str) -> None:
    with pytest.raises(SourceError, match=r"b\.tif: is not a raster that GDAL can read"):
        open_source(f"{server}/b.tif")


def test_a_server_that_breaks_off_is_a_failed_read(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    settings = {"GDAL_HTTP_MAX_RETRY": 0, "VSI_CACHE": False}
    source = open_source(f"{server}/a.tif?breaks", settings=settings)
    Files.fails = True
    with pytest.raises(ReadFailedError, match="rows 900 to 1000 cannot be read, tried 5 times"):
        source.read(Window(900, 0, 100, 1024))
    Files.fails = False
    assert source.read(Window(900, 0, 100, 1024)).shape == (3, 100, 1024)
    source.close()
