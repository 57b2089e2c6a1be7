"""A folder served on loopback by a process of its own: `python -m served_folder FOLDER`; prints its port.

Of its own, for rasterio holds Python's lock while it asks GDAL for a tag, and a thread could not answer. `serving` and
`serve` are for any handler.

While a file named `ill` lies in the folder, every answer is 500. While one named `sent` lies in it, the bytes of every
answer with a body are written down there, a line for each. While one named as a condition, `If-Match` or `If-Range`,
lies in it, that one is heeded.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


class Files(BaseHTTPRequestHandler):
    """Ranges of the files of a folder."""

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.folder / self.path.lstrip("/").partition("?")[0]
        is_ill = (self.folder / "ill").exists()
        if is_ill or not path.is_file():
            self.send_response(500 if is_ill else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = f'"{path.stat().st_mtime_ns}-{path.name}"'
        if (self.folder / "If-Match").exists() and self.headers.get("If-Match", etag) != etag:
            self.send_response(412)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, span = path.read_bytes(), self.headers.get("Range")
        if (self.folder / "If-Range").exists() and self.headers.get("If-Range", etag) != etag:
            span = None
        first, _, last = (span or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
        self.send_response(200 if span is None else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", etag)
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(content[start:stop])
            self._write_down(stop - start)

    def _write_down(self, size: int) -> None:
        if (self.folder / "sent").exists():
            with (self.folder / "sent").open("a") as sent:
                sent.write(f"{size}\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving(*command: str | Path) -> Iterator[str]:
    """Run Python with these words, which are to call `serve`, until the end; gives the address."""
    server = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def serve(handler: type[BaseHTTPRequestHandler]) -> None:
    """Serve for ever, and print the port first."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)  # noqa: T201 - for the process that started it
    server.serve_forever()


@contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """Serve a folder; gives the address."""
    with serving(__file__, folder) as address:
        yield address


if __name__ == "__main__":
    Files.folder = Path(sys.argv[1])
    serve(Files)
