"""What tests of the face share: a folder as its examples have it, and a raster with nodata beside its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.demo import DEMO_SCENE
from segment_tiles.workflows.run.segment import segment

TRAINING = {
    "name": "example",
    "scenes": [
        {
            "name": "scene",
            "raster": "scene.tif",
            "labels": "labels.tif",
            "held_out": [{"row": 0, "column": 0, "height": 64, "width": 64}],
        }
    ],
    "classes": [{"name": "dark", "color": [0, 0, 0]}, {"name": "light", "color": [255, 255, 255]}],
    "network": {
        "backbone": "test_resnet",
        "output_stride": 32,
        "atrous_rates": [1],
        "image_pooling": "off",
        "details": {"channels": 16, "low_level_channels": 8},
    },
    "window": 64,
    "tile": 64,
    "overlap": 0.25,
    "steps": 2,
    "batch": 2,
    "validate_every": 2,
    "threads": 1,
    "loader_processes": 0,
}


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with scene.tif and train.yaml of the examples."""
    with rasterio.open(DEMO_SCENE) as dataset:
        window = Window(0, 0, 500, 450)
        profile = {**dataset.profile, "driver": "GTiff", "width": 500, "height": 450}
        profile["transform"] = window_transform(window, dataset.transform)
        values = dataset.read(window=window)
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as scene:
        scene.write(values)
    with rasterio.open(tmp_path / "labels.tif", "w", **{**profile, "count": 1}) as labels:
        labels.write((values.mean(axis=0) > 100).astype(np.uint8), 1)
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(TRAINING))
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEIGHT, WIDTH = 620, 577


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster of three bands, larger than a shard both ways, with a corner of nodata 0."""
    path = tmp_path_factory.mktemp("face") / "scene.tif"
    rng = np.random.default_rng(3)
    coarse = rng.integers(1, 255, (3, -(-HEIGHT // 20), -(-WIDTH // 20)))
    values = coarse.repeat(20, 1).repeat(20, 2)[:, :HEIGHT, :WIDTH].astype(np.uint8)
    values[:, :300, :260] = 0
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 3, "dtype": "uint8", "nodata": 0}
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 4e6)}
    with rasterio.open(path, "w", tiled=True, blockxsize=256, blockysize=256, **profile, **place) as file:
        file.write(values)
    return path


@pytest.fixture(scope="session")
def run_folder(scene: Path, small_model: Path, quiet: object) -> Path:
    """What `run` makes of it."""
    out = scene.parent / "run"
    config = RunConfig(str(scene), str(small_model), out, precision="fp32", device="cpu", backend="torch")
    segment(config, quiet)  # type: ignore[arg-type]
    return out
