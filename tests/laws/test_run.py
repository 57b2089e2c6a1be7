"""Laws of whole runs of rasters, slides and volumes, with real files and processes: docs/architecture.md#laws."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.executors import Executor, executor_for
from segment_tiles.workflows.executors.interruption import FINISHING
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.run.segment import segment

Call = Callable[..., Any]
SLOW = pytest.mark.slow
"""Marks kinds of scene for which a law is tried by `make test-slow`, since another test tries much the same."""

ALL = [
    "raster",
    pytest.param("stack", marks=SLOW),
    "ground",
    pytest.param("cropped", marks=SLOW),
    pytest.param("masked", marks=SLOW),
    "slide",
    "volume",
]
"""Kinds of scene; stack, ground and a network that crops are tried by the other laws in `make test-slow` alone."""


def picture_of(out: Path) -> bytes:
    """Return the preview, made of what every Region saw of the source."""
    assert not list((out / ".segment-tiles" / "ledger").glob("*.thumbnail")), "its pieces are gone"
    return (out / "preview.png").read_bytes()


@pytest.fixture(scope="module")
def whole_run(quiet: Any, scene: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as the program cuts it, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(scene.config(out), quiet)
    assert len(quiet.plan.regions) < scene.pieces
    group = open_store(out / "classes.zarr")
    assert group["classes"].shape == scene.shape
    shares = np.bincount(group["classes"][:].ravel()) / math.prod(scene.shape)
    assert (shares[:3] > 0.02).all(), "a map of one class would prove nothing"
    assert len(np.unique(group["confidence"][:])) > 100
    return out


@pytest.mark.parametrize("scene", ALL, indirect=True)
def test_two_layouts_of_regions_give_the_same_bytes(
    quiet: Any, bytes_of: Call, whole_run: Path, scene: Any, smallest_pieces: Any, tmp_path: Path
) -> None:
    segment(scene.config(tmp_path), quiet, smallest_pieces)
    assert smallest_pieces.pieces == scene.pieces
    assert bytes_of(tmp_path / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
    assert picture_of(tmp_path) == picture_of(whole_run)
    counts = [json.loads((out / "report.json").read_text())["classes"] for out in (tmp_path, whole_run)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("scene", ALL, indirect=True)
def test_areas_are_those_of_the_pixels(whole_run: Path, scene: Any) -> None:
    """Square metres of the plane, square millimetres or millilitres: pixel counts times the size of one."""
    unit, one, counted = {
        "raster": ("area_planar", getattr(scene, "pixel_area", 0), "pixels"),
        "slide": ("area", 0.8e-3**2, "pixels"),
        "volume": ("volume_ml", 2.0 * 1.5 * 3.0 / 1000, "voxels"),
    }[scene.kind]
    codes = open_store(whole_run / "classes.zarr")["classes"][:]
    entries = json.loads((whole_run / "report.json").read_text())["classes"]
    assert [entry[counted] for entry in entries] == [int((codes == code).sum()) for code in range(3)]
    assert [entry[unit] for entry in entries] == pytest.approx([entry[counted] * one for entry in entries])


@pytest.fixture(scope="module")
def two_workers(scene: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """Worker processes of this machine."""
    config = scene.config(tmp_path_factory.mktemp("workers"), workers=2)
    with ExitStack() as stack:
        yield stack.enter_context(executor_for(config, print))


@pytest.mark.parametrize(
    "scene",
    [
        *(
            pytest.param(kind, marks=SLOW)
            for kind in ("raster", "stack", "ground", "cropped", "masked", "slide")
        ),
        "volume",
    ],
    indirect=True,
)
def test_two_workers_give_the_same_bytes(
    quiet: Any, bytes_of: Call, whole_run: Path, two_workers: Executor, scene: Any, tmp_path: Path
) -> None:
    result = segment(scene.config(tmp_path, workers=2), quiet, two_workers)
    assert result.report["workers"] == 2
    assert len(quiet.plan.regions) * len(quiet.plan.scene.result.slabs()) >= 2
    assert bytes_of(tmp_path / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
    assert picture_of(tmp_path) == picture_of(whole_run)


@pytest.mark.parametrize(
    "scene",
    [
        "raster",
        *(
            pytest.param(kind, marks=SLOW)
            for kind in ("stack", "ground", "cropped", "masked", "slide", "volume")
        ),
    ],
    indirect=True,
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    bytes_of: Call, command: Call, whole_run: Path, scene: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = command(*scene.words(out), "--json")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ledger = out / ".segment-tiles" / "ledger"
    deadline = time.monotonic() + 120
    while not list(ledger.glob("row-*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
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
    assert picture_of(out) == picture_of(whole_run)


@pytest.fixture
def started_run(command: Call, scene: Any, tmp_path: Path) -> subprocess.Popen[str]:
    """A run into ``out``, in the middle of its first row of shards."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(*scene.words(out), *scene.dense), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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


@pytest.mark.parametrize(
    "scene",
    ["raster", *(pytest.param(kind, marks=SLOW) for kind in ("stack", "ground", "slide", "volume"))],
    indirect=True,
)
def test_an_interrupted_run_says_so_and_goes_on(started_run: subprocess.Popen[str], tmp_path: Path) -> None:
    started_run.send_signal(signal.SIGINT)
    printed = started_run.communicate(timeout=200)
    assert started_run.returncode == 130, printed
    assert printed[1].splitlines()[-2:] == [
        f"segment-tiles: warning: {FINISHING}",
        "segment-tiles: error: interrupted; the same command goes on where this one stopped",
    ]
    out = tmp_path / "out"
    assert list((out / ".segment-tiles" / "ledger").glob("row-*.json")), "the row in flight was finished"
    with OutputDirectory(out).locked_for():
        pass  # the lock is free again


@pytest.mark.slow
@pytest.mark.parametrize(
    "scene", ["raster", "slide"], indirect=True
)  # a slice is finished before a hand comes back
def test_a_run_that_is_interrupted_twice_stops_at_once(
    started_run: subprocess.Popen[str], tmp_path: Path
) -> None:
    ledger = tmp_path / "out" / ".segment-tiles" / "ledger"
    started_run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    started_run.send_signal(signal.SIGINT)
    asked = time.monotonic()
    printed = started_run.communicate(timeout=60)
    assert started_run.returncode == 130, printed
    assert time.monotonic() - asked < 5
    assert printed[1].splitlines()[-1].startswith("segment-tiles: error: interrupted;")
    assert "Traceback" not in printed[1]
    assert not list(ledger.glob("row-*.json")), "nothing was finished"
    with OutputDirectory(tmp_path / "out").locked_for():
        pass


@pytest.mark.parametrize("scene", ALL, indirect=True)
def test_a_roi_is_the_crop_of_the_whole_run(quiet: Any, whole_run: Path, scene: Any, tmp_path: Path) -> None:
    segment(scene.config(tmp_path, roi=scene.roi), quiet)
    whole, part = open_store(whole_run / "classes.zarr"), open_store(tmp_path / "classes.zarr")
    for name in ("classes", "confidence"):
        np.testing.assert_array_equal(part[name][:], whole[name][scene.crop])


def test_chunks_of_the_source_change_nothing(
    quiet: Any, bytes_of: Call, whole_run: Path, scene: Any, tmp_path: Path
) -> None:
    segment(scene.stored_otherwise(tmp_path).config(tmp_path / "out"), quiet)
    assert bytes_of(tmp_path / "out" / "classes.zarr") == bytes_of(whole_run / "classes.zarr")
    assert picture_of(tmp_path / "out") == picture_of(whole_run)
