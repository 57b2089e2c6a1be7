"""Scheduler and workers that see neither the folders of the client nor each other's: all that is shared is a bucket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from servers.s3_server import on_every_server

from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.results.formats import vectors

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


@pytest.fixture
def machines(tmp_path: Path, bucket: Callable[[], str]) -> Iterator[Machines]:
    """A scheduler and three workers, for whom the folder of the client is an empty one."""
    if not can_hide_folders():
        pytest.skip("this user may not make mount namespaces")
    hidden, other = tmp_path / "client", Path(tempfile.mkdtemp(prefix="machines-"))
    hidden.mkdir()
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
            return process

        loopback = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        start("scheduler", "scheduler", "--port", "0", "--scheduler-file", str(file), *loopback)
        workers = [
            start(f"worker-{number}", "worker", "--scheduler-file", str(file), "--nthreads", "1", *loopback)
            for number in range(WORKERS)
        ]
        deadline = time.monotonic() + 120
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(WORKERS, timeout=120)
            yield Machines(str(client.scheduler.address), workers, hidden)


def stop(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    for child in children:
        if child.is_running():
            child.kill()
    process.wait()


@on_every_server
@pytest.mark.parametrize("loses", ["a worker", pytest.param("nothing", marks=pytest.mark.slow)])
def test_source_model_and_result_in_buckets_are_all_that_is_shared(
    loses: str,
    machines: Machines,
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    scene: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = bucket()
    place = place_at(address)
    place.put_file("scene.tif", scene)
    for name in ("model.json", "weights.safetensors"):
        place.put_file(f"small/{name}", small_model / name)
    monkeypatch.setattr(tempfile, "tempdir", str(machines.hidden))

    monkeypatch.setattr(vectors, "VECTOR_TILE", 64)
    monkeypatch.setattr(vectors, "TILES_OF_A_PROCESS", 1)
    traced: list[str] = []

    class Kills:
        warn = planned = staticmethod(lambda *_: None)
        killed = loses == "nothing"

        def stage(self, name: str) -> None:
            if name == "polygons":
                traced.extend(key for key in place.list("maps") if "/tiles-" in key)

        def tiles(self, computed: int, skipped: int) -> None:
            if not self.killed:
                self.killed = True
                nanny = psutil.Process(machines.workers[0].pid)
                for child in nanny.children(recursive=True):
                    child.kill()

    out, changes = f"{address}/maps", {"source": f"{address}/scene.tif", "model": f"{address}/small"}
    asked = {"scheduler": machines.address, **changes}
    result = run_into(out, Kills(), **asked)
    assert not result.failures
    assert result.report["workers"] == WORKERS
    same_as_in_folder(out)
    # 18 x 2 vector tiles of 64 px, in strips of 8 rows
    assert [key.rpartition("/")[2] for key in traced] == [
        f"strip-{first:07d}-{stop:07d}.zip" for first, stop in ((0, 8), (8, 16), (16, 18))
    ]
    assert result.report["place"]["requests"] > 4
