"""Scaling by the numbers of each scene: training windows see what the engine shows the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.opening import open_scenes
from segment_tiles.pipeline.learning.data.survey import survey_scenes
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.package import trained_manifest
from segment_tiles.pipeline.models.scaling.scaler import Scaler

CLASSES = [{"name": "ground", "color": [0, 0, 0]}, {"name": "cell", "color": [9, 9, 9]}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same scene twice, once a tenth as bright."""
    values = np.random.default_rng(3).uniform(0, 250, (2, 40, 50))
    profile = {"driver": "GTiff", "height": 40, "width": 50}
    for name, light in (("bright", 1.0), ("dark", 0.1)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", count=2, dtype="uint16", **profile) as file:
            file.write((values * 100 * light).round().astype(np.uint16))
    with rasterio.open(tmp_path / "labels.tif", "w", count=1, dtype="uint8", **profile) as file:
        file.write((values[:1] > 100).astype(np.uint8))
    return tmp_path


def settings(**more: Any) -> TrainingSettings:
    scenes = [{"name": n, "raster": f"{n}.tif", "labels": "labels.tif"} for n in ("bright", "dark")]
    return TrainingSettings.model_validate({"name": "cells", "scenes": scenes, "classes": CLASSES} | more)


@pytest.mark.parametrize("over", ["all", "band"])
def test_windows_of_training_are_scaled_as_a_run_scales_them(folder: Path, over: str) -> None:
    asked = settings(scaling=f"min-max:scene:1,99:{over}+clip:0,1")
    bright, dark = open_scenes(asked, folder)
    survey = survey_scenes([bright, dark], 2)
    manifest = trained_manifest(asked, bright, survey.statistics, {})
    window = Window(3, 4, 20, 30)
    mean, std = (np.array(part)[:, None, None] for part in (survey.statistics.mean, survey.statistics.std))
    seen = [(scene.read(window, with_held_out=True).values - mean) / std for scene in (bright, dark)]
    for scene, ours in zip((bright, dark), seen, strict=True):
        scaler = Scaler(scene.measured(manifest.scaling), 2, torch.device("cpu"))
        shown = scaler.scaled(torch.from_numpy(scene.source.read(window))[None], None)[0].numpy()
        assert np.allclose(ours, shown, atol=1e-5)
    assert np.abs(seen[0] - seen[1]).max() < 0.01  # the light of a scene is gone
    assert manifest.scaling.has_scene_statistics


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("z-score:tile", "numbers of each tile cannot be learnt by"),
        ("physical+scale:2", "a training scales stored values"),
        ("max-min", "'max-min' is not known"),
    ],
)
def test_scalings_that_cannot_be_trained_with_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(scaling=text)
