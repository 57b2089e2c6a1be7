"""A finished run with scores, of which formats are made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.run.segment import segment


@pytest.fixture(scope="session")
def blob_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands of 150 x 170 pixels with large blobs, and a corner without data."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415

    path = tmp_path_factory.mktemp("formats") / "scene.tif"
    drawn = np.random.default_rng(4).standard_normal((3, 150, 170))
    smooth = np.stack([gaussian_filter(band, 5) for band in drawn])
    values = np.clip(125 + 90 * smooth / smooth.std(), 1, 255).astype(np.uint8)
    values[:, :40, :30] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=150, width=170, dtype="uint8", nodata=0,
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


Run = Callable[..., Path]


@pytest.fixture(scope="session")
def run_blobs(blob_scene: Path, small_model: Path, quiet: Any) -> Run:
    """Segments the scene into a folder with options of the command line, and returns the folder."""

    def run(out: Path, **options: Any) -> Path:
        fixed = {"precision": "fp32", "device": "cpu", "preview": False, "item": False}
        config = run_config_from(
            source=str(blob_scene), model=str(small_model), out=out, **{**fixed, **options}
        )
        segment(config, quiet)
        return out

    return run


@pytest.fixture(scope="session")
def scored_run(run_blobs: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that keeps scores; not to be changed."""
    return run_blobs(tmp_path_factory.mktemp("scored") / "out", scores=True, format="zarr", item=True)


@pytest.fixture
def scored(scored_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(scored_run, tmp_path / "out"))
