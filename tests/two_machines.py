"""Two machines behind one name on loopback, each with its own version of a file: every third answer is of the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

VERSIONS = {
    "ETag": ('"1"', '"2"'),
    "Last-Modified": ("Tue, 03 Nov 2026 10:00:00 GMT", "Wed, 04 Nov 2026 10:00:00 GMT"),
}
"""Of both machines, by the header that tells them."""


@dataclass
class Machines:
    """What stands behind the name."""

    address: str = ""
    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Of both, by path."""
    told_by: str = "ETag"
    """The header that tells the version, ETag or Last-Modified."""
    knows: frozenset[str] = frozenset()
    """Conditions that both heed: If-Match, If-Range."""
    is_chunked: bool = False
    """Whole files are sent without their length."""
    turn: Callable[[int], bool] = lambda number: number % 3 == 0
    """Whether the other one answers, told which GET it is, from 1."""
    answers: list[tuple[str, int, str | None, bool]] = field(default_factory=list)
    """Method, status, range asked for, and whether it was the other."""
    lock: Any = field(default_factory=Lock)

    def of_other(self, status: int) -> int:
        """Return how often the other one gave such a status to a GET."""
        return sum(
            method == "GET" and is_other and given == status for method, given, _, is_other in self.answers
        )


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, machines: Machines, *arguments: Any) -> None:
        self.machines = machines
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_arguments: object) -> None: ...

    def _answer(self) -> None:
        told, asked = self.machines, self.headers.get("Range")
        with told.lock:
            number = 1 + sum(method == "GET" for method, *_ in told.answers)
            is_other = self.command == "GET" and told.turn(number)
            version = VERSIONS[told.told_by][is_other]
            status, span = self._status(version, asked)
            told.answers.append((self.command, status, asked, is_other))
        self.send_response(status)
        if status >= 400:
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = told.files[self.path][is_other]
        first, last = 0, len(content) - 1
        if span:
            start, _, end = span.removeprefix("bytes=").partition("-")
            first, last = int(start), min(last, int(end or last))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        if (
            status == 206 or self.command == "HEAD" or not told.is_chunked
        ):  # else the end of the connection ends it
            self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header(told.told_by, version)
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):  # GDAL hangs up on a whole file
                self.wfile.write(content[first : last + 1])

    def _status(self, version: str, span: str | None) -> tuple[int, str | None]:
        told = self.machines
        if self.path not in told.files:
            return 404, None
        if "If-Match" in told.knows and self.headers.get("If-Match", version) != version:
            return 412, None
        if "If-Range" in told.knows and self.headers.get("If-Range", version) != version:
            return 200, None
        return (206 if span else 200), span


@contextlib.contextmanager
def two_machines() -> Iterator[Machines]:
    """Serve until the end."""
    machines = Machines()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, machines)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        machines.address = f"http://127.0.0.1:{server.server_port}"
        yield machines
        server.shutdown()
        thread.join()
