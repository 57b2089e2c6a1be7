"""Runs into buckets: a raster of several rows of shards, its run into a folder, and what a bucket holds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_origin
from servers.machines import machines
from servers.s3_server import bucket, s3, servers, settle

from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.buckets.segment import segment
from segment_tiles.workflows.config import RunConfig

__all__ = ["bucket", "machines", "s3", "servers", "settle"]
SETTINGS: Mapping[str, Any] = {
    "precision": "fp32", "device": "cpu", "backend": "torch", "batch": 4, "formats": ("cog", "geojson"),
}  # fmt: skip
SCENES = ("a #1", "b", "c", "d")
"""Names of the rasters of a batch."""
COMMAND = """
import sys, time
from segment_tiles.pipeline.places import lease
lease.TERM_SECONDS, lease.BEAT_SECONDS, lease.LOOK_SECONDS = 2.0, 0.4, 0.2
from segment_tiles.pipeline.outputs.stores import sent_rows
send = sent_rows.SentLedger.mark
def slowly(self, *arguments):
    send(self, *arguments)
    time.sleep(float(sys.argv[1]))
sent_rows.SentLedger.mark = slowly
from segment_tiles.cli.main import run_command_line
sys.exit(run_command_line(sys.argv[2:]))
"""
"""Leases that expire soon, and rows with a pause after each, so that something can happen between two."""
OF_TIMES = {"report.json", "item.json"}
"""Have times, names of files and versions in them."""


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster of three rows of shards, the last one short."""
    path = tmp_path_factory.mktemp("bucket-scene") / "scene.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, 22, 6), dtype=np.uint8).repeat(50, 1).repeat(20, 2)
    profile = {
        "driver": "GTiff",
        "count": 3,
        "dtype": "uint8",
        "height": 1100,
        "width": 120,
        "crs": "EPSG:32631",
    }
    with rasterio.open(path, "w", transform=from_origin(4e5, 5.6e6, 1, 1), tiled=True, **profile) as file:
        file.write(values)
    return path


@pytest.fixture(scope="session")
def in_folder(scene: Path, small_model: Path, quiet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the run into a folder."""
    out = tmp_path_factory.mktemp("bucket-reference") / "out"
    assert not segment(RunConfig(str(scene), str(small_model), out, **SETTINGS), quiet).failures
    return out


@pytest.fixture
def run_into(scene: Path, small_model: Path, quiet: Any) -> Callable[..., Any]:
    """Runs the scene into an address."""

    def run(address: str, listener: Any = quiet, executor: Any = None, **changes: Any) -> Any:
        config = RunConfig(
            **{"source": str(scene), "model": str(small_model), "out": Path(address)} | SETTINGS | changes
        )
        return segment(config, listener, executor)

    return run


@pytest.fixture
def start(scene: Path, small_model: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the run as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(address: str, pause: float = 0.0, *more: str) -> subprocess.Popen[str]:
        options = ["--precision", "fp32", "--device", "cpu", "--backend", "torch", "--batch", "4"]
        run = ["run", str(scene), "--model", str(small_model), "--out", address, "--format", "cog,geojson"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(pause), *run, *options, *more],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def wait_for_rows() -> Callable[[str, int, subprocess.Popen[str]], None]:
    """Waits until some rows are in a bucket."""

    def wait(address: str, count: int, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 400
        while len([key for key in place_at(address).list() if "/rows/" in key]) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def same_as() -> Callable[[str, Path], None]:
    """Asserts that an address holds the result of a run into a folder, whole, and nothing of what it was made of."""

    def check(address: str, folder: Path) -> None:
        place = place_at(address)
        keys = set(place.list())
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        results = {name for name in files if ".segment-tiles/" not in name}
        assert {key for key in keys if ".segment-tiles/" not in key} == results
        for name in sorted(name for name in results if Path(name).name not in OF_TIMES):
            found = place.read(name)
            assert found is not None
            assert found.data == (folder / name).read_bytes(), name
        assert ".segment-tiles/complete.json" in keys
        assert not [key for key in keys if "/rows/" in key or "/files/" in key]

    return check


@pytest.fixture
def same_as_in_folder(in_folder: Path, same_as: Callable[[str, Path], None]) -> Callable[[str], None]:
    """Asserts that an address holds the result of the run into a folder."""
    return lambda address: same_as(address, in_folder)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four rasters of four tiles."""
    folder = tmp_path_factory.mktemp("bucket-scenes")
    for seed, name in enumerate(SCENES):
        values = np.random.default_rng(seed).integers(0, 255, (3, 8, 8), dtype=np.uint8)
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 1000 + 200 * seed, 0, -1, 2000)}
        profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 3, "dtype": "uint8"}
        with rasterio.open(folder / f"{name}.tif", "w", **profile, **place) as file:
            file.write(values.repeat(12, 1).repeat(12, 2))
    return folder


@pytest.fixture
def jobs_file(scenes: Path, small_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a jobs file over the four rasters."""

    def write(
        name: str, out: str, settings: dict[str, Any] | None = None, scene: str = "*", **keys: Any
    ) -> Path:
        defaults = {
            "model": str(small_model), "device": "cpu", "precision": "fp32", "backend": "torch", "batch": 4,
            "format": ["cog", "parquet"], **(settings or {}),
        }  # fmt: skip
        jobs = [{"source": str(scenes / f"{scene}.tif"), "out": out}]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"jobs": jobs, "defaults": defaults, **keys}))
        return path

    return write
