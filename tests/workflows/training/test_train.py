"""Training as a user sees it: the same weights again, after a kill too, and errors that say where."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segment_tiles.pipeline.errors import (
    ModelError,
    OutputError,
    TrainingError,
    TrainingFailedError,
    UsageError,
)
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.checkpoint import CHECKPOINT_NAME
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.workflows.training.config import with_pretrained_backbone
from segment_tiles.workflows.training.folder import held_for_training
from segment_tiles.workflows.training.report import TrainingReport
from segment_tiles.workflows.training.start import without_scene
from segment_tiles.workflows.training.train import train


class Listener:
    """Keeps what a training says."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.scores: list[Mapping[str, float]] = []
        self.steps: list[int] = []

    def started(self, name: str, first_step: int, steps: int) -> None:
        self.notes.append(f"{name} {first_step}/{steps}")

    def stepped(self, row: Mapping[str, float]) -> None:
        self.steps.append(int(row["step"]))

    def scored(self, row: Mapping[str, float]) -> None:
        self.scores.append(row)

    def noted(self, text: str) -> None:
        self.notes.append(text)


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
    "steps": 6,
    "batch": 2,
    "validate_every": 2,
    "threads": 1,
    "loader_processes": 0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of bright discs and its codes."""
    folder = tmp_path_factory.mktemp("data")
    rows, columns = np.mgrid[:96, :96]
    codes = ((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2 < 90).astype(np.uint8)
    values = 60 + 110 * codes[None] + np.random.default_rng(1).normal(0, 15, (3, 96, 96))
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    profile = {"driver": "GTiff", "height": 96, "width": 96, "dtype": "uint8", **place}
    with rasterio.open(folder / "scene.tif", "w", count=3, **profile) as file:
        file.write(values.clip(0, 255).astype(np.uint8))
    with rasterio.open(folder / "codes.tif", "w", count=1, **profile) as file:
        file.write(codes, 1)
    return folder


def run(data: Path, out: Path, resume: bool = False, restart: bool = False, **changes: Any) -> TrainingReport:
    settings = TrainingSettings.model_validate(SETTINGS | changes)
    return train(settings, data, out, Listener(), device_name="cpu", resume=resume, restart=restart)


def weights_of(report: TrainingReport) -> dict[str, np.ndarray]:
    return load_file(report.model / "weights.safetensors")


def are_equal(first: TrainingReport, second: TrainingReport) -> bool:
    ours, theirs = weights_of(first), weights_of(second)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_same_seed_gives_the_same_weights(data: Path, tmp_path: Path) -> None:
    first, again, other = (
        run(data, tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert are_equal(first, again)
    assert not are_equal(first, other)


def test_a_training_leaves_everything_a_user_is_promised(data: Path, tmp_path: Path) -> None:
    report = run(data, tmp_path / "out")
    manifest = load_manifest(report.model)
    assert load_network(report.model, manifest) is not None
    assert manifest.classes.count == 2
    assert manifest.mean[0] == pytest.approx(90, abs=25)
    scores = next(iter(report.scores.values()))
    assert 0 <= scores["disc"]["iou"] <= 1
    assert scores["pixels"] == 32 * 32
    assert manifest.extra["scores"]["held out"] == report.scores
    assert len((tmp_path / "out/steps.csv").read_text().splitlines()) == 1 + 6
    assert len((tmp_path / "out/scores.csv").read_text().splitlines()) == 1 + 3
    assert json.loads((tmp_path / "out/report.json").read_text())["scores"] == report.scores
    board = EventAccumulator(str(tmp_path / "out/tensorboard")).Reload()
    with (tmp_path / "out/steps.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses, rel=1e-5)
    assert [event.step for event in board.Scalars("mean_iou")] == [2, 4, 6]
    for name in ("curve.png", "samples.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors() or [0] * 99) > 10


def test_training_learns_the_discs(data: Path, tmp_path: Path) -> None:
    report = run(
        data,
        tmp_path / "out",
        steps=80,
        batch=4,
        validate_every=80,
        average_decay=0.9,
        optimizer={"learning_rate": 5e-3, "warm_up_steps": 5},
        augmentation={"probability": 0, "scale": [0.9, 1.1]},
    )
    assert next(iter(report.scores.values()))["disc"]["iou"] > 0.5


def test_after_a_kill_resume_gives_the_same_weights(data: Path, tmp_path: Path) -> None:
    long = {"steps": 40, "validate_every": 5}
    whole = run(data, tmp_path / "whole", **long)
    config = tmp_path / "discs.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | long))
    out = tmp_path / "killed"
    script = "import typer; from segment_tiles.cli.commands.training.train import command; typer.run(command)"
    command = [
        sys.executable,
        "-c",
        script,
        str(config),
        "--data",
        str(data),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not (out / CHECKPOINT_NAME).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (out / CHECKPOINT_NAME).exists()
    assert not (out / "report.json").exists()  # it was killed on the way
    resumed = run(data, out, resume=True, **long)
    assert resumed.steps == 40
    assert are_equal(whole, resumed)


def test_a_finished_training_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path / "out")
    before = weights_of(first)
    with pytest.raises(TrainingError, match="--resume"):
        run(data, tmp_path / "out")
    again = run(data, tmp_path / "out", resume=True)
    assert all(np.array_equal(before[name], value) for name, value in weights_of(again).items())


def test_another_training_is_not_resumed(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    with pytest.raises(TrainingError, match="other settings"):
        run(data, tmp_path / "out", resume=True, seed=9)


def test_a_training_that_cannot_be_resumed_begins_anew_with_restart(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path / "out")
    left_out = tmp_path / "out" / "left-out-discs" / "checkpoint.pt"
    left_out.parent.mkdir()
    left_out.write_bytes(b"of another time")
    for resume in (True, False):
        with pytest.raises(TrainingError, match=r"begin anew with --restart, or choose another --out"):
            run(data, tmp_path / "out", resume=resume, seed=9)
    before = weights_of(first)
    again = run(data, tmp_path / "out", restart=True, seed=9)
    assert again.steps == 6
    assert not all(np.array_equal(before[name], value) for name, value in weights_of(again).items())
    assert not left_out.exists()
    with pytest.raises(UsageError, match="--resume and --restart exclude each other"):
        run(data, tmp_path / "out", resume=True, restart=True)


def test_two_trainings_into_one_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        held_for_training(out, is_first=True),
        pytest.raises(OutputError, match="is at work here; wait for it"),
    ):
        run(data, out)
    assert not out.exists(), "nothing was written"
    with pytest.raises(TrainingError, match="held_out"):
        run(data, out / "a", scenes=[SETTINGS["scenes"][0] | {"held_out": []}])
    assert not out.exists(), "a training that is refused leaves no folder"
    run(data, out)
    assert not (out / ".training").exists()


def test_a_loss_that_is_no_number_stops_with_its_place(data: Path, tmp_path: Path) -> None:
    wild = {"kind": "sgd", "learning_rate": 1e30, "gradient_norm": None, "warm_up_steps": 0}
    run(data, tmp_path / "out", steps=2)
    good = (tmp_path / "out" / CHECKPOINT_NAME).read_bytes()
    with pytest.raises(TrainingFailedError, match=r"not a number at scene discs, rows .* checkpoint"):
        run(data, tmp_path / "wild", steps=8, validate_every=8, optimizer=wild)
    assert not (tmp_path / "wild" / CHECKPOINT_NAME).exists()
    assert (tmp_path / "out" / CHECKPOINT_NAME).read_bytes() == good


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_counts_as_missing(data: Path, tmp_path: Path, bad: float) -> None:
    with rasterio.open(data / "scene.tif") as file:
        profile, values = file.profile, file.read().astype(np.float32)
    mean = values[1].mean()
    values[1, :20, :20] = bad
    with rasterio.open(tmp_path / "scene.tif", "w", **(profile | {"dtype": "float32"})) as file:
        file.write(values)
    scene = SETTINGS["scenes"][0] | {"raster": str(tmp_path / "scene.tif")}
    report = run(data, tmp_path / "out", scenes=[scene], steps=2)
    assert load_manifest(report.model).mean[1] == pytest.approx(mean, rel=0.1)


def test_scores_that_are_not_defined_are_null(data: Path, tmp_path: Path) -> None:
    """JSON has no NaN: a held-out corner without discs, and a map without any."""
    scene = SETTINGS["scenes"][0] | {"held_out": [{"row": 0, "column": 0, "height": 4, "width": 4}]}
    report = run(data, tmp_path / "out", scenes=[scene], steps=2)
    for path in (tmp_path / "out/report.json", report.model / "model.json"):
        assert not re.search(r"\bNaN\b", path.read_text())
    (scores,) = report.scores.values()
    assert None in (scores["disc"]["precision"], scores["disc"]["recall"])


def test_a_held_out_area_without_labels_is_refused(data: Path, tmp_path: Path) -> None:
    with rasterio.open(data / "codes.tif") as file:
        profile, codes = file.profile, file.read(1)
    codes[64:, 64:] = 255
    with rasterio.open(tmp_path / "codes.tif", "w", **profile) as file:
        file.write(codes, 1)
    scene = SETTINGS["scenes"][0] | {"labels": str(tmp_path / "codes.tif")}
    with pytest.raises(TrainingError, match=r"no labelled pixel .*discs rows 64-96 columns 64-96"):
        run(data, tmp_path / "out", scenes=[scene])


def test_a_training_without_held_out_scores_is_refused(data: Path, tmp_path: Path) -> None:
    scene = SETTINGS["scenes"][0] | {"held_out": []}
    with pytest.raises(TrainingError, match="held_out"):
        run(data, tmp_path / "out", scenes=[scene])


def test_a_scene_left_out_is_only_scored(data: Path) -> None:
    second = SETTINGS["scenes"][0] | {"name": "other"}
    settings = TrainingSettings.model_validate(SETTINGS | {"scenes": [SETTINGS["scenes"][0], second]})
    left = without_scene(settings, "other")
    assert [s.use for s in left.scenes] == ["train", "validate"]
    assert left.scenes[1].held_out == ()
    with pytest.raises(TrainingError, match="discs, other"):
        without_scene(settings, "nowhere")
    with pytest.raises(TrainingError, match="two or more"):
        without_scene(TrainingSettings.model_validate(SETTINGS), "discs")


def test_pretrained_weights_that_cannot_be_had_are_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network: the hub's client is told so, and answers at once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    network = SETTINGS["network"] | {"backbone": "resnet18"}
    settings = with_pretrained_backbone(TrainingSettings.model_validate(SETTINGS | {"network": network}))
    with pytest.raises(
        ModelError, match="ImageNet weights of backbone 'resnet18' are neither in timm's cache"
    ):
        train(settings, data, tmp_path / "out", Listener(), device_name="cpu")
