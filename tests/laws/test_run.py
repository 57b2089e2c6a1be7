"""Laws of whole runs, with real files and real processes: layouts of Regions, kill -9, ROI, resume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import zarr

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.store import open_store, shard_shape
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import InProcess
from segment_tiles.workflows.interruption import FINISHING, Interruption
from segment_tiles.workflows.output_directory import OutputDirectory
from segment_tiles.workflows.region_task import Progress, RegionReport, RegionTask, do_region
from segment_tiles.workflows.segment import segment

Call = Callable[..., Any]
SLIDE = "slide.tif"


def reading(source: Path) -> dict[str, Any]:
    """How a source is read: the slide resampled, at factor 1.6."""
    return {"view": View(mpp=0.8), "tissue": "off"} if source.name == SLIDE else {}


def words_of_reading(source: Path) -> list[str]:
    """The same as words of the command line."""
    return ["--mpp", "0.8", "--tissue", "off"] if source.name == SLIDE else []


@pytest.fixture(scope="module", params=["raster", "slide"])
def wide_raster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_as: Call
) -> Path:
    """530 x 4150 pixels as they are read: two shards wide and high, the second ones narrow."""
    path = tmp_path_factory.mktemp("wide") / "wide.tif"
    rng = np.random.default_rng(0)
    if request.param == "slide":  # at 0.5 micrometres per pixel, read at 0.8
        coarse = rng.integers(0, 255, (3, 34, 266), dtype=np.uint8)
        values = coarse.repeat(25, axis=1).repeat(25, axis=2)[:, :848, :6640]
        written = write_as("slide", values + rng.integers(0, 20, values.shape, dtype=np.uint8), 0.5, 4)
        return Path(shutil.copy(written, path.with_name(SLIDE)))
    coarse = rng.integers(0, 255, (3, 34, 260), dtype=np.uint8)
    values = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :530, :4150]
    values = values + rng.integers(0, 20, values.shape, dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=4150, height=530, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5600000), tiled=True, compress="deflate",
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.fixture(scope="module")
def whole_run(
    quiet: Any, wide_raster: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wide raster in one Region, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(config(wide_raster, small_model, out), quiet)
    assert len(quiet.plan.regions) == 1
    group = open_store(out / "classes.zarr")
    shares = np.bincount(group["classes"][:].ravel()) / (530 * 4150)
    assert (shares > 0.02).sum() == 3, "a map of one class would prove nothing"
    assert len(np.unique(group["confidence"][:])) > 100
    return out


def config(source: Path, model: Path, out: Path, **changes: object) -> RunConfig:
    settings = {
        "tile": 256,
        "overlap": 0.125,
        "precision": "fp32",
        "device": "cpu",
        "formats": ("zarr",),
        **reading(source),
        **changes,
    }
    return RunConfig(str(source), str(model), out, **settings)


class Shards(InProcess):
    """Does every shard as a Region of its own, the last first: an executor as far from one strip as can be."""

    def __init__(self) -> None:
        self.regions = 0

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        rows, columns = shard_shape(tasks[0].roi.width)
        reports = []
        for task in tasks:
            cells = [
                Window(top, left, rows, columns).intersect(task.region)
                for top in range(task.region.row, task.region.row_stop, rows)
                for left in range(task.region.column, task.region.column_stop, columns)
            ]
            self.regions += len(cells)
            reports += [do_region(replace(task, region=cell), progress) for cell in reversed(cells)]
        return reports


def test_two_layouts_of_regions_give_the_same_bytes(
    quiet: Any, bytes_of: Call, whole_run: Path, wide_raster: Path, small_model: Path, tmp_path: Path
) -> None:
    executor = Shards()
    segment(config(wide_raster, small_model, tmp_path), quiet, executor)
    assert executor.regions == 4
    assert bytes_of(tmp_path / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
    counts = [json.loads((out / "report.json").read_text())["classes"] for out in (tmp_path, whole_run)]
    assert counts[0] == counts[1]


def test_a_killed_run_goes_on_to_the_same_bytes(
    bytes_of: Call, command: Call, whole_run: Path, wide_raster: Path, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = command(
        "run", wide_raster, "--model", small_model, "--out", out, "--tile", "256", "--overlap", "0.125",
        "--precision", "fp32", "--device", "cpu", "--format", "zarr", "--json", *words_of_reading(wide_raster),
    )  # fmt: skip
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ledger = out / ".segment-tiles" / "ledger"
    deadline = time.monotonic() + 120
    while not list(ledger.glob("row-*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "classes.zarr").exists(), "no half-written result under its final name"
    assert not (out / "report.json").exists()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["tiles"]["computed"] < report["tiles"]["planned"], "finished rows are not done again"
    assert report["memory"]["peak_bytes"] <= report["memory"]["planned_bytes"], "the Plan is kept"
    assert bytes_of(out / "classes.zarr") == bytes_of(whole_run / "classes.zarr")


@pytest.fixture
def started_run(command: Call, wide_raster: Path, small_model: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A run into ``out``, in the middle of its first row of shards."""
    out = tmp_path / "out"
    arguments = command(
        "run", wide_raster, "--model", small_model, "--out", out, "--tile", "128", "--precision", "fp32",
        "--format", "zarr", *words_of_reading(wide_raster),
    )  # fmt: skip
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a suite that a shell started in the background would hand down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / ".segment-tiles" / "run.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1.0)
    return process


def test_an_interrupted_run_says_so_and_goes_on(started_run: subprocess.Popen[str], tmp_path: Path) -> None:
    started_run.send_signal(signal.SIGINT)
    printed = started_run.communicate(timeout=200)
    assert started_run.returncode == 130, printed
    assert printed[1].splitlines() == [
        f"segment-tiles: warning: {FINISHING}",
        "segment-tiles: error: interrupted; the same command goes on where this one stopped",
    ]
    out = tmp_path / "out"
    assert list((out / ".segment-tiles" / "ledger").glob("row-*.json")), "the row in flight was finished"
    with OutputDirectory(out).locked_for():
        pass  # the lock is free again


@pytest.mark.slow
def test_a_run_that_is_interrupted_twice_stops_at_once(
    started_run: subprocess.Popen[str], tmp_path: Path
) -> None:
    started_run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    started_run.send_signal(signal.SIGINT)
    asked = time.monotonic()
    printed = started_run.communicate(timeout=60)
    assert started_run.returncode == 130, printed
    assert time.monotonic() - asked < 5
    assert printed[1].splitlines()[-1].startswith("segment-tiles: error: interrupted;")
    assert "Traceback" not in printed[1]
    assert not list((tmp_path / "out" / ".segment-tiles" / "ledger").glob("row-*.json")), (
        "nothing was finished"
    )
    with OutputDirectory(tmp_path / "out").locked_for():
        pass


def test_a_roi_is_the_crop_of_the_whole_run(
    quiet: Any, whole_run: Path, wide_raster: Path, small_model: Path, tmp_path: Path
) -> None:
    west, north = 400000 + 333 * 0.5, 5600000 - 77 * 0.5
    roi = (west, north - 401 * 0.5, west + 1203 * 0.5, north)
    if wide_raster.name == SLIDE:  # in full-resolution pixels, 1.6 to one that is read
        roi = (333 * 1.6, 77 * 1.6, (333 + 1203) * 1.6, (77 + 401) * 1.6)
    segment(config(wide_raster, small_model, tmp_path, roi=roi), quiet)
    whole, part = open_store(whole_run / "classes.zarr"), open_store(tmp_path / "classes.zarr")
    for name in ("classes", "confidence"):
        array = part[name]
        assert isinstance(array, zarr.Array)
        assert array.shape == (401, 1203)
        np.testing.assert_array_equal(array[:], whole[name][77 : 77 + 401, 333 : 333 + 1203])


def test_chunks_of_the_source_change_nothing(
    quiet: Any, bytes_of: Call, whole_run: Path, wide_raster: Path, small_model: Path, tmp_path: Path
) -> None:
    striped = tmp_path / wide_raster.name
    if wide_raster.name == SLIDE:
        size = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER", "metadata": None}
        tifffile.imwrite(striped, tifffile.imread(wide_raster), tile=(64, 128), photometric="rgb", **size)
        segment(config(striped, small_model, tmp_path / "out"), quiet)
        assert bytes_of(tmp_path / "out" / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
        return
    with rasterio.open(wide_raster) as dataset:
        profile = {**dataset.profile, "tiled": False, "blockysize": 7, "interleave": "band"}
        profile.pop("blockxsize")
        with rasterio.open(striped, "w", **profile) as other:
            other.write(dataset.read())
    segment(config(striped, small_model, tmp_path / "out"), quiet)
    assert bytes_of(tmp_path / "out" / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
