"""Power cuts: what a real file system has after one is taken up, and gives the same bytes.

The program writes into an ext4 of its own. At a chosen call (a file opened for writing, a rename, a folder made, a
file removed) the file system is shut down as the kernel does it for crash tests: what had not been synced is lost,
in the order that the file system likes. It is mounted again, and the same command goes on.

``SEED=1 CUTS=50 pytest tests/faults/test_power_cut.py -m slow`` tries many; a few are tried always.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
import yaml

from faults.small_training import TRAINING
from segment_tiles.pipeline.errors import RunFailedError, SegmentTilesError
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.checkpoint import CHECKPOINT_NAME
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.run import run_batch
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.run.segment import segment
from segment_tiles.workflows.training.package import SilentProgress
from segment_tiles.workflows.training.train import train

Job = Callable[[Path], None]
"""Writes into a folder; the same again goes on."""
SEED, CUTS = int(os.environ.get("SEED", "1")), int(os.environ.get("CUTS", "50"))


@pytest.fixture(autouse=True)
def sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview that takes no time."""

    def drawn(path: Path, *_: object) -> None:
        with finished_file(path) as partial:
            partial.write_bytes(b"picture")

    monkeypatch.setattr("segment_tiles.workflows.scenes.rasters.picture.write_run_preview", drawn)
    monkeypatch.setattr("segment_tiles.workflows.scenes.volumes.picture.write_volume_preview", drawn)


@pytest.fixture
def jobs(tmp_path: Path, small_model: Path, grey_model: Path, quiet: Any) -> dict[str, Job]:
    """What is interrupted: a raster, a volume along three axes, changed polygons, a batch, a training."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (3, 138, 9), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    profile = {"driver": "GTiff", "width": 70, "height": 1100, "dtype": "uint8", "crs": "EPSG:32633",
               "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000)}  # fmt: skip
    with rasterio.open(tmp_path / "scene.tif", "w", count=3, **profile) as dataset:
        dataset.write(values[:, :1100, :70])
    with rasterio.open(tmp_path / "classes.tif", "w", count=1, **profile) as dataset:
        dataset.write(values[0, :1100, :70] // 64, 1)
    voxels = rng.integers(0, 255, (2, 2, 3)).repeat(8, 0).repeat(8, 1).repeat(2, 2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii")
    common: dict[str, Any] = {"precision": "fp32", "device": "cpu"}

    def raster(out: Path) -> None:
        formats = ("zarr", "cog", "parquet")
        segment(
            RunConfig(str(tmp_path / "scene.tif"), str(small_model), out, formats=formats, **common), quiet
        )

    def volume(out: Path) -> None:
        formats = ("zarr", "nifti")
        scan = str(tmp_path / "scan.nii")
        segment(RunConfig(scan, str(grey_model), out, formats=formats, axis="all", **common), quiet)

    def polygons(out: Path) -> None:
        out.mkdir(exist_ok=True)
        options = PolygonizeOptions(vector_tile=256, sieve=6, simplify=0.0)
        polygonize(tmp_path / "classes.tif", [out / "a.parquet", out / "a.geojsonl"], options)

    def batch(out: Path) -> None:
        out.mkdir(exist_ok=True)
        settings = {"model": str(small_model), "precision": "fp32", "device": "cpu", "format": ["cog"]}
        scenes = [
            {"source": str(tmp_path / "scene.tif"), "out": str(out / name), "roi": [1000, south, 1070, 2000]}
            for name, south in (("a", 1700), ("b", 1800))
        ]
        (tmp_path / "jobs.yaml").write_text(
            yaml.safe_dump({"results": str(out / "table"), "defaults": settings, "jobs": scenes})
        )
        done = run_batch(read_jobs_file(tmp_path / "jobs.yaml"), BatchQuiet())
        if done.failures:
            raise RunFailedError(str(done.failures[0].error))

    def training(out: Path) -> None:
        settings = TrainingSettings.model_validate(TRAINING)
        train(settings, tmp_path, out, SilentProgress(), device_name="cpu", resume=True)

    return {"raster": raster, "volume": volume, "polygons": polygons, "batch": batch, "training": training}


class BatchQuiet:
    """Hears nothing."""

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None: ...

    def planned(self, plan: object) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...

    def note(self, text: str) -> None: ...

    def job_starts(self, job: object, total: int) -> None: ...

    def job_ends(self, outcome: object) -> None: ...


def results(out: Path) -> dict[str, bytes]:
    """The bytes of everything that does not tell the time."""
    telling = {"report.json", "item.json", "collection.json", "jobs.csv", "jobs.parquet"}
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in telling]
    if (out / CHECKPOINT_NAME).exists():  # of a training: its logs tell the time too
        paths = [path for path in paths if path.suffix == ".safetensors"]
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in paths
        if ".segment-tiles" not in path.parts
    }


def survives(job: Job, disk: Any, power_cut: Any, rng: np.random.Generator, cuts: int) -> int:
    """Cut a job again and again, each time from the start; return how many cuts fell into it."""
    out = disk.path / "out"
    shutil.rmtree(out, ignore_errors=True)
    power_cut.arm(disk, None)
    job(out)
    power_cut.disarm()
    calls, whole, fallen = power_cut.calls, results(out), 0
    for _ in range(cuts):
        shutil.rmtree(out)
        os.sync()
        for _ in range(int(rng.integers(1, 3))):  # once, or again while it goes on
            at = int(rng.integers(1, calls + 1))
            power_cut.arm(disk, at)
            try:
                job(out)
            except (SegmentTilesError, OSError, RuntimeError, ValueError):
                fallen += 1
            power_cut.disarm()
            disk.switch_on()
        job(out)
        assert results(out) == whole, f"cut at call {at} of {calls}"
        assert not [path for path in out.rglob("*") if path.name.endswith((".partial", ".tiles"))]
    return fallen


def test_a_few_power_cuts(disk: Any, power_cut: Any, jobs: dict[str, Job]) -> None:
    rng = np.random.default_rng(SEED)
    assert survives(jobs["raster"], disk, power_cut, rng, 2)
    assert survives(jobs["polygons"], disk, power_cut, rng, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["raster", "volume", "polygons", "batch", "training"])
def test_many_power_cuts(disk: Any, power_cut: Any, jobs: dict[str, Job], name: str) -> None:
    """Logs of a training that were open at the cut cannot be closed on a disk that is gone."""
    fallen = survives(jobs[name], disk, power_cut, np.random.default_rng(SEED), CUTS)
    assert fallen > CUTS // 2


def test_the_disk_loses_what_was_not_synced(disk: Any) -> None:
    """A test that a disk like any other would pass proves nothing."""
    (disk.path / "a.partial").write_bytes(b"1" * 100_000)
    (disk.path / "a.partial").rename(disk.path / "a")
    with (disk.path / "b").open("wb") as file:
        file.write(b"1" * 100_000)
        file.flush()
        os.fsync(file.fileno())  # and with it the journal, which has the name of the other
    disk.cut()
    with pytest.raises(OSError, match="Input/output"):
        (disk.path / "c").touch()
    disk.switch_on()
    assert (disk.path / "a").stat().st_size == 0
    assert (disk.path / "b").stat().st_size == 100_000
