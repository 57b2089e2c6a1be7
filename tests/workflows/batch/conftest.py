"""Crops of real scenes, jobs files over them, and a listener that remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
import yaml
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from segment_tiles.workflows.batch.jobs import Job
from segment_tiles.workflows.batch.outcome import JobOutcome

CROP = 96
"""Side of a crop in pixels: four tiles of the small model."""


class Recorder:
    """Listens to a batch and remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.started: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def note(self, text: str) -> None:
        pass

    def stage(self, name: str) -> None:
        pass

    def planned(self, plan: Any) -> None:
        pass

    def tiles(self, computed: int, skipped: int) -> None:
        pass

    def job_starts(self, job: Job, total: int) -> None:
        self.started.append(job.name)

    def job_ends(self, outcome: JobOutcome) -> None:
        self.ended.append((outcome.job.name, outcome.state))


def _write_crop(
    scene: Path, target: Path, row: int, column: int, height: int = CROP, width: int = CROP
) -> Path:
    """Write a window of a scene as a GeoTIFF of its own."""
    window = Window(column, row, width, height)
    with rasterio.open(scene) as dataset:
        profile = {**dataset.profile, "driver": "GTiff", "width": width, "height": height, "tiled": False}
        profile["transform"] = window_transform(window, dataset.transform)
        profile = {key: value for key, value in profile.items() if not key.startswith("block")}
        target.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(target, "w", **profile) as crop:
            crop.write(dataset.read(window=window))
    return target


@pytest.fixture
def jobs_file(tmp_path: Path, small_model: Path) -> Callable[..., Path]:
    """Writes a jobs file that runs the small model; returns its path."""

    def write(*jobs: dict[str, Any], **keys: Any) -> Path:
        defaults = {
            "model": str(small_model), "device": "cpu", "precision": "fp32", "format": ["zarr"],
            **keys.pop("defaults", {}),
        }  # fmt: skip
        path = tmp_path / "jobs.yaml"
        path.write_text(yaml.safe_dump({**keys, "defaults": defaults, "jobs": list(jobs)}, sort_keys=False))
        return path

    return write


@pytest.fixture
def write_crop() -> Callable[..., Path]:
    """Writes a window of a scene as a file of its own: scene, target, row, column, height, width."""
    return _write_crop


@pytest.fixture
def recorder() -> Recorder:
    """A listener that remembers."""
    return Recorder()
