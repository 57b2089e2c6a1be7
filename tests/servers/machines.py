"""Processes that stand for machines: scheduler and workers that see no folder of the client, nor of each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from distributed import Client

from servers.processes import kill

WORKERS = 3


def can_hide_folders() -> bool:
    """Return whether this user may make mount namespaces."""
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([unshare, "--mount", "true"], check=False).returncode == 0


@dataclass
class Machines:
    """Processes that stand for machines."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    hidden: Path
    """Folder of the client, empty for all of them."""
    all: list[subprocess.Popen[bytes]]
    """Scheduler and workers."""


@pytest.fixture
def machines(tmp_path: Path, bucket: Callable[[], str]) -> Iterator[Machines]:
    """A scheduler and three workers, for whom the folder of the client is an empty one."""
    if not can_hide_folders():
        pytest.skip("this user may not make mount namespaces")
    with started(tmp_path / "client") as them:
        yield them


@contextmanager
def started(hidden: Path, first: str = "") -> Iterator[Machines]:
    """Start a scheduler and three workers, for whom a folder is an empty one; each worker runs a program first."""
    other = Path(tempfile.mkdtemp(prefix="machines-"))
    hidden.mkdir(exist_ok=True)
    preload = other / "first.py"
    preload.write_text(first)
    processes: list[subprocess.Popen[bytes]] = []
    file = other / "scheduler.json"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, other, ignore_errors=True)

        def start(name: str, *words: str) -> subprocess.Popen[bytes]:
            own = other / name
            own.mkdir()
            script = (
                f"mount -t tmpfs none {hidden} && cd {own} && exec {sys.executable} -m dask {' '.join(words)}"
            )
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script],
                env={**os.environ, "TMPDIR": str(own), "XDG_CACHE_HOME": str(own)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(stop, process)
            processes.append(process)
            return process

        loopback = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        start("scheduler", "scheduler", "--port", "0", "--scheduler-file", str(file), *loopback)
        of_workers = ["--scheduler-file", str(file), "--nthreads", "1", "--preload", str(preload), *loopback]
        workers = [start(f"worker-{number}", "worker", *of_workers) for number in range(WORKERS)]
        deadline = time.monotonic() + 120
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(WORKERS, timeout=120)
            address = str(client.scheduler.address)
        yield Machines(address, workers, hidden, processes)


def stop(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    kill(children)
    process.wait()
