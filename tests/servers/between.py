"""What lies between a command and a server of S3: one that answers with errors, and a cable that can be pulled."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import ClassVar, Literal
from urllib.parse import urlsplit

Way = Literal["refused", "silent"]
"""How a network is away: connections are refused and cut, or accepted and never answered."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""Of SO_LINGER: close by a reset."""


class Unreliable(BaseHTTPRequestHandler):
    """Passes requests on to a server, and answers some with an error, or with nothing."""

    protocol_version = "HTTP/1.1"
    url: ClassVar[str]
    target: ClassVar[str]
    chance: ClassVar[random.Random]
    share: ClassVar[float] = 0.2
    failed: ClassVar[list[str]]
    """What was asked by the requests that failed."""
    asked: ClassVar[list[str]]
    """What was asked by all."""

    def _pass_on(self) -> None:
        self.asked.append(self.requestline)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.chance.random()
        happens_after = self.chance.random() < 0.5
        if kind < self.share and not happens_after:
            self._fail(kind)
            return
        connection = HTTPConnection(urlsplit(self.target).netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if kind < self.share:
            self._fail(kind)
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "content-length", "date", "server"}:
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _fail(self, kind: float) -> None:
        """Answer 500, 503 SlowDown, or cut the connection."""
        self.failed.append(self.requestline)
        self.close_connection = True
        if kind < self.share / 3:
            self.connection.close()
            return
        status, code = (500, "InternalError") if kind < self.share * 2 / 3 else (503, "SlowDown")
        content = f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # else the next request would find it closed
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None: ...


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve by a handler; gives the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def unreliable(target: str, seed: int, share: float = 0.2) -> Iterator[type[Unreliable]]:
    """Pass on to a server, and fail a share of the requests."""
    handler = type(
        "Handler",
        (Unreliable,),
        {"target": target, "chance": random.Random(seed), "failed": [], "asked": [], "share": share},
    )
    with serving(handler) as handler.url:
        yield handler


class Holding(Unreliable):
    """Passes requests on, but holds those to write one object until it is told to let them go."""

    key: ClassVar[str]
    held: ClassVar[Event]
    let_go: ClassVar[Event]
    statuses: ClassVar[list[int]]
    """What the server answered to those that were held."""

    def _held(self) -> None:
        is_held = urlsplit(self.path).path.endswith(self.key)
        if is_held:
            self.held.set()
            self.let_go.wait()
        self._pass_on()

    do_PUT = _held

    def send_response(self, code: int, message: str | None = None) -> None:
        if self.command == "PUT" and urlsplit(self.path).path.endswith(self.key):
            self.statuses.append(code)
        super().send_response(code, message)


@contextmanager
def holding(target: str, key: str) -> Iterator[type[Holding]]:
    """Pass on to a server, and hold what is written to a key."""
    fields = {"target": target, "key": key, "held": Event(), "let_go": Event(), "statuses": [], "asked": []}
    handler = type("Handler", (Holding,), {**fields, "chance": random.Random(0), "failed": [], "share": 0.0})
    with serving(handler) as handler.url:
        yield handler
        handler.let_go.set()


class Cable:
    """Passes bytes on between clients and a server, until it is pulled, and again when it is back."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc.rsplit(":", 1)
        self._ends: list[socket.socket] = []
        self._lost: set[socket.socket] = set()
        self._is_silent = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._start(self._accept, self._listener)

    def pull(self, way: Way) -> None:
        """Let the network be away; what is under way never arrives."""
        if way == "silent":
            self._is_silent = True
            self._lost |= set(self._ends)
            return
        self._stop_listening()
        for end in self._ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def put_back(self) -> None:
        """Let the network be there; connections of before are lost."""
        self._is_silent = False
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._start(self._accept, self._listener)

    def close(self) -> None:
        """End all."""
        self.pull("refused")

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._ends.append(client)
                if self._is_silent:
                    self._lost.add(client)
                    continue
                server = socket.create_connection((self._target[0], int(self._target[1])))
                self._ends.append(server)
                self._start(self._pass_on, client, server)
                self._start(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if source not in self._lost:
                    sink.sendall(data)
            if source not in self._lost:
                sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def _start(work: Callable[..., None], *arguments: socket.socket) -> None:
        Thread(target=work, args=arguments, daemon=True).start()
