"""Evaluation of what ``run`` leaves behind, as the map and as the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RasterioWindow

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import OutputError, TrainingError, UsageError
from segment_tiles.pipeline.learning.scores.calibration import BINS
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster
from segment_tiles.workflows.output_folder.lock import held_folder
from segment_tiles.workflows.training.evaluate import LOCK_FOLDER, TruthSettings, evaluate


@dataclass(frozen=True)
class Run:
    """A finished run on a real picture, and codes that agree with it in some places."""

    folder: Path
    scene: Path
    truth: Path
    codes: np.ndarray
    confidence: np.ndarray
    true_codes: np.ndarray


def run_on(scene: Path, model: Path, out: Path, *words: str) -> Path:
    command = ["run", scene, "--model", model, "--out", out, "--device", "cpu", "--quiet", *words]
    assert run_command_line([str(word) for word in command]) == 0
    return out


@pytest.fixture(scope="module")
def run(aerial_crop: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("evaluated")
    with rasterio.open(aerial_crop) as file:
        window = RasterioWindow(300, 200, 230, 150)
        profile = file.profile | {
            "driver": "GTiff", "width": 230, "height": 150, "transform": file.window_transform(window),
        }  # fmt: skip
        values = file.read(window=window)
    with rasterio.open(folder / "scene.tif", "w", **profile) as file:
        file.write(values)
    out = run_on(folder / "scene.tif", small_model, folder / "run", "--format", "zarr,cog")
    store = ZarrClassRaster(out / "classes.zarr")
    codes, confidence = store.read(store.spec.window), store.read_confidence(store.spec.window)
    wrong = np.random.default_rng(2).random(codes.shape) < 0.3
    true_codes = np.where(wrong, (codes + 1) % 3, codes).astype(np.uint8)
    true_codes[:20] = 255
    with rasterio.open(
        folder / "truth.tif", "w", **(profile | {"count": 1, "dtype": "uint8", "nodata": 255})
    ) as file:
        file.write(true_codes, 1)
    return Run(out, folder / "scene.tif", folder / "truth.tif", codes, confidence, true_codes)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The definition of 1706.04599: the mean distance of confidence and accuracy in bins, weighted by pixels."""
    share = confidence / 255
    bins = np.minimum((share * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).sum() * abs(share[bins == b].mean() - right[bins == b].mean()) for b in np.unique(bins)
    ]
    return float(np.sum(gaps) / len(bins))


def test_a_finished_run_is_scored_with_its_calibration(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["evaluate", str(run.folder), str(run.truth), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(document["classes"]) == ["other", "tree", "water"]
    known = run.true_codes != 255
    right = run.codes[known] == run.true_codes[known]
    assert document["pixels"] == known.sum()
    assert document["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    expected = calibration_error(run.confidence[known], right)
    assert expected > 0.01
    assert document["calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert run_command_line(["evaluate", str(run.folder), str(run.truth)]) == 0
    assert "calibration error" in capsys.readouterr().out


def test_two_evaluations_do_not_mix_their_files(run: Run, tmp_path: Path) -> None:
    truth = TruthSettings(str(run.truth))
    with held_folder(tmp_path / LOCK_FOLDER, tmp_path), pytest.raises(OutputError, match="is at work here"):
        evaluate(run.folder, truth, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    evaluate(run.folder, truth, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "evaluation.json"]


def test_folder_store_and_raster_of_a_run_have_the_same_scores(run: Run) -> None:
    truth = TruthSettings(str(run.truth))
    folder = evaluate(run.folder, truth)
    assert evaluate(run.folder / "classes.zarr", truth) == folder
    raster = evaluate(run.folder / "classes.tif", truth)  # a GeoTIFF has no confidence beside it
    assert raster == folder | {"calibration_error": None}


@pytest.mark.parametrize("name", ["", "classes.zarr", "classes.tif"])
def test_the_map_of_a_run_is_a_truth(run: Run, name: str) -> None:
    path = run.folder / name if name else run.folder
    document = evaluate(run.truth, TruthSettings(str(path)), class_names=["other", "tree", "water"])
    known = run.true_codes != 255
    assert document["pixels"] == run.codes.size - (~known).sum()
    assert document["accuracy"] == pytest.approx((run.codes == run.true_codes)[known].mean(), abs=1e-6)
    assert evaluate(run.folder, TruthSettings(str(path)))["mean_iou"] == 1


def test_classes_of_a_run_as_truth_are_known_by_name(run: Run) -> None:
    renamed = TruthSettings(
        str(run.folder), class_values={"tree": "forest", "other": "rest", "water": "rest"}
    )
    document = evaluate(run.truth, renamed, class_names=["forest", "rest", "unused"])
    assert document["classes"]["forest"]["truth_pixels"] == ((run.codes == 1) & (run.true_codes != 255)).sum()
    with pytest.raises(
        TrainingError, match=r"labels of scene truth\.tif have the class 'other'; accepted are a, b, c"
    ):
        evaluate(run.truth, TruthSettings(str(run.folder)), class_names=["a", "b", "c"])
    with pytest.raises(UsageError, match="'lake'"):
        evaluate(run.folder, TruthSettings(str(run.folder), class_values={"tree": "lake"}))


def test_a_run_on_another_grid_is_refused_as_truth_and_its_raster_is_warped(
    run: Run, small_model: Path, tmp_path: Path
) -> None:
    with rasterio.open(run.scene) as file:
        window = RasterioWindow(30, 10, 140, 90)
        profile = file.profile | {"width": 140, "height": 90, "transform": file.window_transform(window)}
        values = file.read(window=window)
    with rasterio.open(tmp_path / "part.tif", "w", **profile) as file:
        file.write(values)
    part = run_on(tmp_path / "part.tif", small_model, tmp_path / "part", "--format", "zarr,cog")
    with pytest.raises(TrainingError, match=r"another grid .* segment-tiles export .* --format cog"):
        evaluate(run.folder, TruthSettings(str(part)))
    document = evaluate(run.folder, TruthSettings(str(part / "classes.tif")))
    assert document["pixels"] == 140 * 90
    assert document["notes"] == ["run: the label raster was warped to the grid of the scene"]
    with rasterio.open(part / "classes.tif") as file:
        alike = file.read(1) == run.codes[10:100, 30:170]
    assert document["accuracy"] == pytest.approx(alike.mean(), abs=1e-6)
    assert 0.2 < document["accuracy"] < 1, "other tiles, the same picture"
