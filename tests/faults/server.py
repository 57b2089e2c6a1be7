"""A file server on loopback that misbehaves: `python -m faults.server FOLDER`; prints its port.

`/BEHAVIOUR/scene.tif` serves FOLDER/scene.tif with that behaviour, until FOLDER/healed exists.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

from served_folder import serve

SLOW_SECONDS = 0.2
Behaviour = Callable[["Handler"], bool]
"""Answers a request, or returns False to have it answered well."""


class Handler(BaseHTTPRequestHandler):
    """Serves ranges of one file."""

    protocol_version = "HTTP/1.1"
    folder: Path
    counts: ClassVar[dict[str, int]] = {}
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    @property
    def data(self) -> bytes:
        return (self.folder / "scene.tif").read_bytes()

    @property
    def number(self) -> int:
        """Which request for this path it is, from 1."""
        return self.counts[self.path]

    def _serve(self) -> None:
        name = self.path.split("/")[1]
        with self.lock:
            self.counts[self.path] = self.counts.get(self.path, 0) + 1
        behaviour = BEHAVIOURS.get(name)
        if not self.path.endswith("scene.tif") or behaviour is None:
            self.give(b"", 404)
            return
        try:
            if (self.folder / "healed").exists() or not behaviour(self):
                self.give_range(self.data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def byte_range(self, size: int) -> tuple[int, int] | None:
        """Return first and last byte asked for."""
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return None
        first, _, last = asked[6:].partition("-")
        return int(first or 0), min(int(last or size - 1), size - 1)

    def give_range(self, data: bytes, etag: str | None = '"1"', *, shift: int = 0) -> None:
        """Answer as a well-behaved server does."""
        asked = self.byte_range(len(data))
        headers = {"Accept-Ranges": "bytes", **({} if etag is None else {"ETag": etag})}
        if asked is None:
            self.give(data, 200, headers)
            return
        first, last = asked
        if first >= len(data):
            self.give(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
            return
        content = f"bytes {first + shift}-{last + shift}/{len(data)}"
        self.give(data[first : last + 1], 206, {**headers, "Content-Range": content})

    def give(
        self, body: bytes, status: int, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        """Send one answer."""
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _status(
    number: int, *, after: int = 0, until: float = float("inf"), headers: Mapping[str, str] | None = None
) -> Behaviour:
    def behave(handler: Handler) -> bool:
        if not after < handler.number <= until:
            return False
        handler.give(b"no", number, headers)
        return True

    return behave


def _no_ranges(handler: Handler) -> bool:
    handler.give(handler.data, 200)
    return True


def _cut_body(handler: Handler) -> bool:
    if handler.number < 3:
        return False
    handler.give(
        handler.data[:100], 206, {"Content-Range": f"bytes 0-9999/{len(handler.data)}"}, length=10_000
    )
    handler.close_connection = True
    return True


def _reset(handler: Handler) -> bool:
    if handler.number < 3:
        return False
    handler.close_connection = True
    handler.connection.close()
    return True


def _wrong_range(handler: Handler) -> bool:
    if handler.number < 3:
        return False
    handler.give_range(handler.data, shift=17)
    return True


def _slow(handler: Handler) -> bool:
    time.sleep(SLOW_SECONDS)
    return False


def _silent(handler: Handler) -> bool:
    if handler.number < 3:
        return False
    time.sleep(300)
    return True


def _drip(handler: Handler) -> bool:
    if handler.number < 3 or handler.command == "HEAD":
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b"x")
        time.sleep(0.5)
    return True


def _login_page(handler: Handler) -> bool:
    handler.give(b"<html><body>Please log in</body></html>", 200, {"Content-Type": "text/html"})
    return True


def _redirect_loop(handler: Handler) -> bool:
    handler.give(b"", 302, {"Location": handler.path})
    return True


def _redirect(handler: Handler) -> bool:
    handler.give(b"", 302, {"Location": "/good/scene.tif"})
    return True


def _empty(handler: Handler) -> bool:
    handler.give(b"", 200)
    return True


def _garbage(handler: Handler) -> bool:
    handler.wfile.write(b"\x00\xff not http at all\r\n\r\n")
    handler.close_connection = True
    return True


def _says_gzip(handler: Handler) -> bool:
    handler.give(handler.data, 200, {"Content-Encoding": "gzip"})
    return True


def _changed(etags: bool) -> Behaviour:
    """From the sixth request on another version of the file: its second half is turned over."""

    def behave(handler: Handler) -> bool:
        data = handler.data
        if handler.number >= 6:
            half = len(data) // 2
            data = data[:half] + data[half:][::-1]
        handler.give_range(data, (f'"{1 + (handler.number >= 6)}"' if etags else None))
        return True

    return behave


def _no_head(handler: Handler) -> bool:
    if handler.command != "HEAD":
        return False
    handler.give(b"", 405)
    return True


def _wrong_size(handler: Handler) -> bool:
    if handler.command != "HEAD":
        return False
    handler.give(b"", 200, length=77)
    return True


BEHAVIOURS: Mapping[str, Behaviour] = {
    "good": lambda _handler: False,
    "slow": _slow,
    "no-ranges": _no_ranges,
    "cut-body": _cut_body,
    "reset": _reset,
    "wrong-range": _wrong_range,
    "silent": _silent,
    "drip": _drip,
    "login-page": _login_page,
    "redirect-loop": _redirect_loop,
    "redirect": _redirect,
    "empty": _empty,
    "garbage": _garbage,
    "says-gzip": _says_gzip,
    "changed-etag": _changed(etags=True),
    "changed-without-etag": _changed(etags=False),
    "no-head": _no_head,
    "wrong-size": _wrong_size,
    "500-once": _status(500, after=2, until=3),
    "500-from-the-third": _status(500, after=2),
    "503-always": _status(503, headers={"Retry-After": "1"}),
    "403": _status(403),
    "404-from-the-fourth": _status(404, after=3),
    "429-twice": _status(429, after=2, until=4, headers={"Retry-After": "1"}),
}


def main() -> None:
    Handler.folder = Path(sys.argv[1])
    serve(Handler)


if __name__ == "__main__":
    main()
