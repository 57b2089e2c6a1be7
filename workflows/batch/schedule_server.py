"""Prefect's own server, started over its local database for as long as a schedule needs it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.parent_process import start_module

STARTUP_TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
"""Prefect's variable with the time that a server over the local database may take to start."""


@contextmanager
def started_server() -> Iterator[str]:
    """Start a server on a free port of this machine, give its address, and end it.

    Raises
    ------
    UsageError
        If it does not answer in the time that `STARTUP_TIMEOUT` names.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_module(
        ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    )
    address = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(server, f"{address}/health")
        yield address
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], health: str) -> None:
    seconds = float(os.environ[STARTUP_TIMEOUT])
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(health, timeout=5):
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    msg = (
        f"Prefect's server did not start in {seconds:.0f} s; start one with `prefect server start` and name it "
        "in PREFECT_API_URL"
    )
    raise UsageError(msg)
