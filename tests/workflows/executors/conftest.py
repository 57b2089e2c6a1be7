"""Real Dask clusters: scheduler and workers as processes of an installation of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
from distributed import Client
from servers.processes import kill, started_by

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 120


class Recorder:
    """Listens to a run and remembers; calls what a test wants to happen in the middle."""

    def __init__(self, on_tiles: Any = None) -> None:
        self.warnings: list[str] = []
        self.told: list[str] = []
        self.done = 0
        self.plan: Any = None
        self._on_tiles = on_tiles

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        self.told.append(name)

    def planned(self, plan: Any) -> None:
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        self.done += computed + skipped
        if self._on_tiles is not None:
            self._on_tiles()


@dataclass(frozen=True)
class Installation:
    """An environment with a wheel of this checkout: nothing of it is editable."""

    python: Path
    site: Path

    def start(self, words: Sequence[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command of Dask in a folder of its own."""
        folder.mkdir(exist_ok=True)
        with (folder / "log.txt").open("w") as log:
            return subprocess.Popen(
                [str(self.python), "-m", "dask", *words], cwd=folder, env={**os.environ, **environment},
                stdout=subprocess.DEVNULL, stderr=log, text=True,
            )  # fmt: skip


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A virtual environment with this program installed from its sources, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("installation")
    sources = folder / "sources"
    for name in ("pipeline", "workflows", "cli", "segment_tiles"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, sources / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--no-deps", "--offline",
         "--no-build-isolation", "--python", sys.executable, "--target", site, sources], check=True,
    )  # fmt: skip
    # after the installation, so that nothing but this program comes from it
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    found = subprocess.run(
        [python, "-c", "import segment_tiles.workflows as w; print(w.__file__)"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(found.strip()).is_relative_to(site), "not the editable checkout"
    return Installation(python, site)


@dataclass
class RunningCluster:
    """A scheduler and its workers."""

    address: str
    scheduler: subprocess.Popen[str]
    nannies: list[subprocess.Popen[str]]

    def worker_processes(self) -> list[psutil.Process]:
        """The processes that compute, each a child of its nanny."""
        return [
            child
            for nanny in self.nannies
            for child in started_by(psutil.Process(nanny.pid), "spawn_main", recursive=False)
        ]


@contextmanager
def running_cluster(
    installation: Installation, folder: Path, workers: int, **environment: str
) -> Iterator[RunningCluster]:
    """Start scheduler and workers, each in a folder of its own, and stop them after."""
    address_file = folder / "scheduler.json"
    with ExitStack() as stack:

        def start(words: Sequence[str], name: str) -> subprocess.Popen[str]:
            process = installation.start(words, folder / name, **environment)
            stack.callback(stop, process)
            return process

        scheduler = start(
            ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
             "--scheduler-file", str(address_file)], "scheduler",
        )  # fmt: skip
        nannies = [
            start(
                ["worker", "--scheduler-file", str(address_file), "--nthreads", "1", "--host", "127.0.0.1",
                 "--no-dashboard", "--local-directory", str(folder / f"scratch-{number}")], f"worker-{number}",
            )
            for number in range(workers)
        ]  # fmt: skip
        address = wait_for_workers(address_file, workers, scheduler)
        yield RunningCluster(address, scheduler, nannies)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and what it started."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        kill(children)
    process.wait()


def wait_for_workers(address_file: Path, workers: int, scheduler: subprocess.Popen[str]) -> str:
    """Return the address of a scheduler once its workers are there."""
    deadline = time.monotonic() + START_SECONDS
    while not address_file.exists():
        assert scheduler.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with Client(scheduler_file=str(address_file), set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=START_SECONDS)
        return str(client.scheduler.address)


@pytest.fixture(scope="session")
def two_workers(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCluster]:
    """A running cluster that somebody else started."""
    with running_cluster(installation, tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def tall_raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2060 x 300 pixels: five rows of shards, the last one short."""
    return write_raster(tmp_path_factory.mktemp("tall") / "tall.tif", 2060)


@pytest.fixture(scope="session")
def taller_raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4000 x 300 pixels: eight rows of shards."""
    return write_raster(tmp_path_factory.mktemp("taller") / "taller.tif", 4000)


def write_raster(path: Path, height: int) -> Path:
    """Write blocks of colour with noise, 300 pixels wide."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, -(-height // 16), 19), dtype=np.uint8)
    values = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :300]
    values = values + rng.integers(0, 20, values.shape, dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=height, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5600000), tiled=True, compress="deflate",
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


class Scenario:
    """One run of a tall raster through the small model, on the CPU in float32, wherever it is done."""

    def __init__(self, raster: Path, model: Path) -> None:
        self.raster, self.model = raster, model
        self.whole: dict[str, str] = {}

    def of(self, raster: Path) -> Scenario:
        """The same run of another raster."""
        return Scenario(raster, self.model)

    def config(self, out: Path, **changes: Any) -> RunConfig:
        """The run as a configuration."""
        settings: dict[str, Any] = {
            "source": str(self.raster), "model": str(self.model), "out": out, "tile": 128, "overlap": 0.25,
            "precision": "fp32", "device": "cpu", "formats": ("zarr",),
        }  # fmt: skip
        return RunConfig(**{**settings, **changes})

    def command(self, out: Path, *more: str) -> list[str]:
        """The run as a command line."""
        return [
            str(Path(sys.executable).with_name("segment-tiles")), "run", str(self.raster), "--model", str(self.model),
            "--out", str(out), "--tile", "128", "--overlap", "0.25", "--precision", "fp32", "--device", "cpu",
            "--format", "zarr", *more,
        ]  # fmt: skip

    @staticmethod
    def recorder(on_tiles: Any = None) -> Recorder:
        """A listener."""
        return Recorder(on_tiles)

    @staticmethod
    def bytes_of(out: Path) -> dict[str, str]:
        """Checksum of every file of the Zarr store of a run."""
        store = out / "classes.zarr"
        return {
            str(path.relative_to(store)): sha256(path.read_bytes()).hexdigest()
            for path in sorted(store.rglob("*"))
            if path.is_file()
        }

    @staticmethod
    def cluster(installation: Installation, folder: Path, workers: int, **environment: str) -> Any:
        """A scheduler and workers, as a context manager."""
        return running_cluster(installation, folder, workers, **environment)

    @staticmethod
    def wait_for_row(out: Path, process: subprocess.Popen[str]) -> None:
        """Return when the first row of shards of a run is in the ledger."""
        deadline = time.monotonic() + START_SECONDS
        while not list((out / ".segment-tiles" / "ledger").glob("row-*.json")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="session")
def scenario(tall_raster: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """With the bytes of the run in one Region of this process."""
    scenario, listener = Scenario(tall_raster, small_model), Recorder()
    out = tmp_path_factory.mktemp("in-process") / "out"
    segment(scenario.config(out), listener)
    assert len(listener.plan.regions) == 1
    scenario.whole = scenario.bytes_of(out)
    return scenario
