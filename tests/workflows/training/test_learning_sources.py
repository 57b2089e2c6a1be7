"""A training or an evaluation of sources that change: nothing of two versions is called complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from segment_tiles.pipeline.errors import SourceChangedError, TrainingError
from segment_tiles.pipeline.learning.scores import evaluation
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.workflows.training import evaluate as evaluate_module
from segment_tiles.workflows.training.evaluate import TruthSettings, evaluate
from segment_tiles.workflows.training.package import SilentProgress
from segment_tiles.workflows.training.train import train

CHANGED = "changed while it was read"
HELD_OUT = "discs rows 64-96"
SETTINGS: dict[str, Any] = {
    "name": "discs",
    "scenes": [
        {
            "name": "discs",
            "raster": "scene.tif",
            "labels": "codes.tif",
            "held_out": [{"row": 64, "column": 64, "height": 32, "width": 32}],
        }
    ],
    "classes": [{"name": "ground", "color": [200, 200, 200]}, {"name": "disc", "color": [20, 120, 40]}],
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
    "steps": 4,
    "batch": 2,
    "validate_every": 2,
    "threads": 1,
    "loader_processes": 0,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A scene of bright discs, its codes, and polygons of some of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows, columns = np.mgrid[:96, :96]
    codes = ((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2 < 90).astype(np.uint8)
    values = 60 + 110 * codes[None] + np.random.default_rng(1).normal(0, 15, (3, 96, 96))
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    profile = {"driver": "GTiff", "height": 96, "width": 96, "dtype": "uint8", **place}
    with rasterio.open(folder / "scene.tif", "w", count=3, **profile) as file:
        file.write(values.clip(0, 255).astype(np.uint8))
    with rasterio.open(folder / "codes.tif", "w", count=1, **profile) as file:
        file.write(codes, 1)
    boxes = [box(5e5 + x, 4e6 - 90, 5e5 + x + 20, 4e6 - 10) for x in (0, 50)]
    frame = geopandas.GeoDataFrame({"kind": ["disc", "ground"]}, geometry=boxes, crs="EPSG:32612")
    frame.to_file(folder / "parcels.shp")
    return folder


def later(path: Path) -> None:
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now, now + 1))


class At(SilentProgress):
    """Does something at a step, or when scores are told."""

    def __init__(self, step: int, change: Callable[[], object], *, scored: bool = False) -> None:
        self._step, self._change, self._scored = step, change, scored

    def stepped(self, row: Mapping[str, float]) -> None:
        if row["step"] == self._step and not self._scored:
            self._change()

    def scored(self, row: Mapping[str, float]) -> None:
        if row["step"] == self._step and self._scored:
            self._change()


def run(data: Path, out: Path, at: At, *, resume: bool = False, **scene: Any) -> Any:
    scenes = [{**SETTINGS["scenes"][0], **scene}]
    settings = TrainingSettings.model_validate({**SETTINGS, "scenes": scenes})
    return train(settings, data, out, at, device_name="cpu", resume=resume)


@pytest.mark.parametrize("name", ["scene.tif", "codes.tif"])
def test_a_training_whose_sources_change_is_not_complete(data: Path, tmp_path: Path, name: str) -> None:
    kept, out = shutil.copy2(data / name, tmp_path / "kept"), tmp_path / "out"
    with pytest.raises(SourceChangedError, match=rf"{name}: {CHANGED}.*--resume.*another --out"):
        run(data, out, At(3, lambda: later(data / name)))
    assert not (out / "report.json").exists()
    what = {"scene.tif": "the raster", "codes.tif": "the labels"}[name]
    with pytest.raises(
        TrainingError, match=rf"checkpoint\.pt is of another version of {what} of scene discs"
    ):
        run(data, out, At(0, bool), resume=True)
    shutil.copy2(kept, data / name)  # as it was, also by its time
    assert run(data, out, At(0, bool), resume=True).steps == 4
    assert (out / "report.json").exists()
    assert HELD_OUT in (out / "model" / "model.json").read_text()


def test_sources_that_change_after_the_last_step_count_too(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceChangedError, match=rf"scene\.tif: {CHANGED}"):
        run(data, tmp_path / "out", At(4, lambda: later(data / "scene.tif"), scored=True))
    assert not (tmp_path / "out" / "report.json").exists()
    assert HELD_OUT not in (tmp_path / "out" / "model" / "model.json").read_text()  # its scores


def test_every_file_of_labels_counts(data: Path, tmp_path: Path) -> None:
    labels = {"labels": "parcels.shp", "class_column": "kind"}
    with pytest.raises(SourceChangedError, match=rf"parcels\.shp: {CHANGED}"):
        run(data, tmp_path / "out", At(1, lambda: later(data / "parcels.dbf")), **labels)


def test_what_does_not_change_is_no_obstacle(data: Path, tmp_path: Path) -> None:
    look = At(1, lambda: Path(f"{data / 'scene.tif'}.aux.xml").write_text("<PAMDataset/>"))
    assert run(data, tmp_path / "out", look).steps == 4


@pytest.mark.parametrize("name", ["map.tif", "codes.tif"])
def test_an_evaluation_whose_sources_change_says_so(
    data: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy2(data / "codes.tif", data / "map.tif")
    truth, out = TruthSettings(str(data / "codes.tif")), tmp_path / "scores"

    def scored(*arguments: Any, **options: Any) -> evaluation.Evaluation:
        result = evaluation.evaluate_map(*arguments, **options)
        later(data / name)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate_map", scored)
        with pytest.raises(SourceChangedError, match=rf"{name}: {CHANGED}.*start the same command again"):
            evaluate(data / "map.tif", truth, class_names=["ground", "disc"], out=out)
    assert not out.exists()
    assert evaluate(data / "map.tif", truth, class_names=["ground", "disc"], out=out)["accuracy"] == 1
    assert (out / "evaluation.json").exists()
