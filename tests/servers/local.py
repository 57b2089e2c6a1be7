"""Object stores on loopback: processes that speak the protocol of one over HTTP, and the settings that name them.

Nothing of pytest: the program of random kills and the benchmark start one too.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0
"""A server answers so long after its start at the latest."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    scheme: str
    url: str
    settings: Mapping[str, str]
    """Variables of the environment by which commands find it."""
    make: Callable[[str], None]
    """Makes a bucket, or what else it is called there, of a name."""
    process: int

    @property
    def own(self) -> tuple[str, ...]:
        """How the names of all variables begin that could lead elsewhere."""
        of_google = ("GOOGLE_", "GS_", "STORAGE_", "CPL_GS_")
        return {"s3": ("AWS_",), "az": ("AZUR",), "gs": of_google}[self.scheme]

    def bucket(self, name: str) -> str:
        """Make a bucket and return its URL."""
        self.make(name)
        return f"{self.scheme}://{name}"


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def process(command: Sequence[str], log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let a process run, and end it."""
    with log.open("wb") as said:
        started = subprocess.Popen(
            command, stdout=said, stderr=said, cwd=log.parent, env=os.environ | settings
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens at a port."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > until:
                msg = f"the server did not start; it said: {log.read_text(errors='replace')[-2000:]}"
                raise RuntimeError(msg) from error
            time.sleep(0.1)


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """Serve the protocol of S3 by moto's server: Python, objects in memory, every key is right."""
    port, log = free_port(), folder / "moto.log"
    url = f"http://127.0.0.1:{port}"

    def make(name: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", method="PUT"), timeout=10):
            pass

    with process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log) as started:
        wait_for(port, started, log)
        yield Server("s3", url, s3_settings(url, "key", "known to nobody"), make, started.pid)


def s3_settings(url: str, key: str, secret: str) -> dict[str, str]:
    """Return the environment of commands that work with a server of S3: obstore's and botocore's names, and GDAL's."""
    return {
        "AWS_S3_ENDPOINT": url.partition("//")[2], "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }  # fmt: skip
