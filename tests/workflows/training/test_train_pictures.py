"""Training on a folder of pictures with label images: grey and colour mixed, groups held out, borders made."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training import validation
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.workflows.training.report import TrainingReport
from segment_tiles.workflows.training.train import train

SIDE = 64
SETTINGS: dict[str, Any] = {
    "name": "cells",
    "pictures": [
        {
            "name": "fields",
            "images": "images",
            "labels": "labels",
            "instances": "cell",
            "unlabelled": "ground",
            "groups": {
                "file": "groups.csv", "key": "id", "group": "field", "held_out": ["f2"], "score_by": "stain",
            },
        }
    ],
    "classes": [
        {"name": "ground", "color": [200, 200, 200]},
        {"name": "cell", "color": [20, 120, 40]},
        {"name": "cell border", "color": [250, 210, 80]},
    ],
    "borders": {"of": "cell", "width": 1},
    "neighbour_weight": {"w0": 5, "sigma": 2},
    "network": {
        "backbone": "test_resnet", "output_stride": 32, "atrous_rates": [1], "image_pooling": "off",
        "details": {"channels": 16, "low_level_channels": 8},
    },
    "window": 32,
    "tile": 64,
    "overlap": 0.25,
    "steps": 4,
    "batch": 2,
    "validate_every": 2,
    "threads": 1,
    "loader_processes": 0,
}  # fmt: skip


class Listener:
    """Keeps what a training says, and stops it after a score if asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self._stop_at = stop_at

    def started(self, name: str, first_step: int, steps: int) -> None:
        self.notes.append(f"{name} {first_step}/{steps}")

    def stepped(self, row: Any) -> None:
        if row["step"] == self._stop_at:
            raise KeyboardInterrupt

    def scored(self, row: Any) -> None:
        pass

    def noted(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of touching discs, two of them in colour, in three fields."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    numbers = 1 + (rows // 16) * 4 + columns // 16
    numbers[(rows % 16 - 8) ** 2 + (columns % 16 - 8) ** 2 > 60] = 0
    table = ["id,field,stain"]
    for index, (field, stain) in enumerate(
        [("f1", "grey"), ("f1", "grey"), ("f2", "grey"), ("f2", "pink"), ("f3", "pink")]
    ):
        noise = np.random.default_rng(index).normal(0, 10, (SIDE, SIDE))
        grey = (60 + 100 * (numbers > 0) + noise).clip(0, 255).astype(np.uint8)
        picture = grey if stain == "grey" else np.stack([255 - grey, grey // 2, grey], -1)
        Image.fromarray(picture).save(folder / f"images/p{index}.png")
        Image.fromarray(numbers.astype(np.uint16)).save(folder / f"labels/p{index}.png")
        table.append(f"p{index},{field},{stain}")
    (folder / "groups.csv").write_text("\n".join(table))
    return folder


Run = Callable[..., TrainingReport]


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Run:
    """Trains into the folder ``out``."""

    def trained(
        listener: Listener | None = None, more: dict[str, Any] | None = None, **options: Any
    ) -> TrainingReport:
        settings = TrainingSettings.model_validate(SETTINGS | (more or {}))
        return train(settings, data, tmp_path / "out", listener or Listener(), device_name="cpu", **options)

    return trained


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingReport, Path, list[str]]:
    """A training that was not stopped, its folder, and what it said."""
    out, listener = tmp_path_factory.mktemp("whole") / "out", Listener()
    report = train(TrainingSettings.model_validate(SETTINGS), data, out, listener, device_name="cpu")
    return report, out, listener.notes


def test_pictures_are_trained_on_and_held_out_by_group(
    whole: tuple[TrainingReport, Path, list[str]],
) -> None:
    report, out, notes = whole
    assert set(report.scores) == {"fields grey", "fields pink", "all held-out areas"}
    assert report.scores["fields grey"]["pixels"] == SIDE * SIDE
    assert report.scores["all held-out areas"]["cell border"]["iou"] is not None
    objects = report.scores["fields grey"]["cell"]["objects"]
    assert objects["true_objects"] == 16
    assert objects["mean_over_scenes"]["scenes"] == 1
    assert report.scores["all held-out areas"]["cell"]["objects"]["true_objects"] == 32
    assert "3 scenes of one band told as three equal ones" in notes
    assert "pictures fields: 1 of 3 groups have one picture only" in notes
    manifest = load_manifest(report.model)
    assert manifest.bands == ("red", "green", "blue")
    assert [(rule.name, rule.border, rule.reach) for rule in manifest.classes.objects] == [
        ("cell", "cell border", 3)
    ]
    recipe = manifest.extra["training"]["recipe"]
    assert [folder["name"] for folder in recipe["pictures"]] == ["fields"]
    assert "scenes" not in recipe
    assert json.loads((out / "report.json").read_text())["scores"] == report.scores
    page = (out / "training.html").read_text()
    assert f"{report.scores['fields pink']['cell']['iou']:.3f}" in page
    worst = sorted(page.index(name) for name in ("fields/p2", "fields/p3"))
    assert page.index("The worst of what was held out") < worst[0]
    for name in ("curve.png", "confusion.png", "samples.png", "worst.png"):
        assert f"src='{name}'" in page
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200


def test_strips_are_not_shown_as_worst_and_large_areas_are_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of 64 x 64 pixels in cells of 56, and an area of more pixels than are held."""
    monkeypatch.setattr(validation, "CELL_SIDE", 56)
    monkeypatch.setattr(validation, "HELD_AT_MOST", SIDE * SIDE - 1)
    listener = Listener()
    report = run(listener)
    page = (tmp_path / "out" / "training.html").read_text()
    worst = page[page.index("The worst of what was held out") :]
    shown = re.findall(r"<tr><td>([^<]*)</td>", worst)
    assert len(shown) == 2, "one cell of each picture, none of its strips of 8 pixels"
    (note,) = [text for text in listener.notes if "not scored at the end" in text]
    assert note.startswith("objects of 2 held-out areas (fields/p2, fields/p3) are not scored")
    assert note in page
    assert json.loads((tmp_path / "out" / "report.json").read_text())["notes"] == [note]
    assert "objects" not in report.scores["all held-out areas"]["cell"]


def test_parts_worth_showing_are_no_strips() -> None:
    whole = Window(0, 0, 1032, 600)
    scene: Any = SimpleNamespace(window=whole)
    parts = [Window(0, 0, 512, 512), Window(1024, 0, 8, 512), Window(0, 512, 512, 88), Window(0, 0, 128, 512)]
    areas = [validation.ValidationArea(scene, part) for part in parts]
    assert validation.worth_showing(areas, 1032 * 600) == [areas[0], areas[3]]
    assert validation.worth_showing(areas[1:3], 40 * 512) == areas[2:3], "a quarter of a smaller whole"
    picture: Any = SimpleNamespace(window=Window(0, 0, 20, 30))
    small = validation.ValidationArea(picture, picture.window)
    assert validation.worth_showing([*areas, small], 1032 * 600)[-1] is small, (
        "a picture is all there is of it"
    )


def test_other_stains_without_their_library_are_refused_before_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == "skimage" else found(name, *of)
    )
    more = {"augmentation": {"stain": {"probability": 0.5}}}
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(SETTINGS | more))  # nothing of its data is there
    for words in (["train", "--out", str(tmp_path / "out")], ["learning-rate"]):
        assert run_command_line([words[0], str(tmp_path / "training.yaml"), *words[1:]]) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1, error
        assert "augmentation.stain has the probability 0.5" in error
        assert "pip install 'segment-tiles[slides]'" in error
    assert not (tmp_path / "out").exists()


def test_a_training_on_pictures_that_was_stopped_gives_the_same_weights(
    run: Run, whole: tuple[TrainingReport, Path, list[str]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Listener(stop_at=3))
    listener = Listener()
    resumed = run(listener, resume=True)
    assert "cells 2/4" in listener.notes
    ours, theirs = (load_file(report.model / "weights.safetensors") for report in (whole[0], resumed))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow  # five trainings
def test_each_fold_is_left_out_in_turn_and_trained_on_else(run: Run, tmp_path: Path) -> None:
    report = run(more={"steps": 2}, each_scene_left_out=True, seeds=2)
    assert list(report.left_out) == ["fields-f1", "fields-f2", "fields-f3"]
    assert [scores["pixels"] for scores in report.left_out.values()] == [2 * SIDE**2, 2 * SIDE**2, SIDE**2]
    left_out = [scores["cell"]["iou"] for scores in report.left_out.values()]
    spread = report.spread["left_out"]
    assert spread["trainings"] == 3
    assert spread["cell"]["iou"]["mean"] == pytest.approx(np.mean(left_out), abs=1e-4)
    assert spread["cell"]["iou"]["std"] == pytest.approx(np.std(left_out, ddof=1), abs=1e-4)
    assert list(report.seeds) == ["0", "1"]
    assert report.seeds["0"] == report.scores["all held-out areas"] != report.seeds["1"]
    scores = load_manifest(report.model).extra["scores"]
    assert scores["mean and spread"] == report.spread
    assert json.loads((tmp_path / "out/report.json").read_text())["spread"] == report.spread


def test_a_picture_without_its_mask_is_refused_before_anything(run: Run, tmp_path: Path, data: Path) -> None:
    (data / "images/p9.png").write_bytes((data / "images/p0.png").read_bytes())
    try:
        with pytest.raises(TrainingError, match=r"the picture .*p9\.png has no mask of its name"):
            run()
    finally:
        (data / "images/p9.png").unlink()
    assert not (tmp_path / "out").exists()


def test_a_learning_rate_is_searched(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "cells.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    command = [
        "learning-rate",
        str(config),
        "--data",
        str(data),
        "--device",
        "cpu",
        "--steps",
        "12",
        "--json",
    ]
    assert run_command_line(command) == 0
    found = json.loads(capsys.readouterr().out)
    rates = [entry["learning_rate"] for entry in found["tried"]]
    assert rates[0] == 1e-6
    assert rates == sorted(rates)
    assert rates[0] < found["learning_rate"] < 1
    losses = [entry["loss"] for entry in found["tried"]]
    slopes = np.gradient(losses, np.log(rates))
    assert found["learning_rate"] == pytest.approx(rates[int(slopes.argmin())], rel=0.06)
    assert not (tmp_path / "out").exists()
    assert run_command_line([*command, "--steps", "2"]) == 2
    assert "--steps is 2; it must be from 10" in capsys.readouterr().err
