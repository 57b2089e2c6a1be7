"""A configuration is refused in one line that says the key and what would do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segment_tiles.pipeline.errors import PlanError, TrainingError
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.training.package import class_table
from segment_tiles.workflows.training import config as training_config
from segment_tiles.workflows.training.config import read_training_config
from segment_tiles.workflows.training.package import SilentProgress
from segment_tiles.workflows.training.start import fingerprint
from segment_tiles.workflows.training.train import train

RECIPES = sorted((Path(training_config.__file__).parents[1] / "recipes").glob("*.yaml"))


def document() -> dict[str, object]:
    return {
        "name": "discs",
        "scenes": [{"name": "a", "raster": "a.tif", "labels": "a.gpkg", "unlabelled": "ground"}],
        "classes": [{"name": "ground", "color": [0, 0, 0]}, {"name": "disc", "color": [1, 1, 1]}],
    }


def refused(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(TrainingError) as caught:
        read_training_config(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_accepted(recipe: Path) -> None:
    assert read_training_config(recipe).name == recipe.stem


def test_sheaths_are_a_rule_of_objects_and_no_part_of_the_training() -> None:
    (recipe,) = (path for path in RECIPES if path.stem == "axon-myelin")
    settings = read_training_config(recipe)
    (rule,) = class_table(settings).objects
    assert rule == ObjectRule("axon", reach=30, min_pixels=20, sheath="myelin")
    process = TrainingProcess()
    before = settings.model_copy(update={"sheaths": None})
    assert fingerprint(settings, process) == fingerprint(before, process), (
        "a training goes on after it was added"
    )


def test_there_are_recipes() -> None:
    assert {"canopy-rgb", "brain-tissue"} <= {path.stem for path in RECIPES}


def test_an_unknown_key_names_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    assert "the key stepps is not known; did you mean steps?" in refused(path, document() | {"stepps": 3})
    text = refused(path, document() | {"optimizer": {"learning_rat": 1}})
    assert "optimizer.learning_rat is not known; did you mean learning_rate?" in text
    scene = {"name": "a", "raster": "a.tif", "labels": "a.gpkg", "holdout": []}
    assert "scenes.0.holdout is not known; did you mean held_out?" in refused(
        path, document() | {"scenes": [scene]}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"borders": {"of": "tree"}}, "borders.of is 'tree', which is no class of the model"),
        ({"borders": {"of": "disc"}}, "borders.border is 'disc border', which is no class of the model"),
        ({"borders": {"of": "disc", "border": "disc"}}, "a border is a class of its own"),
        ({"neighbour_weight": {}}, "neighbour_weight needs borders"),
        (
            {"sheaths": {"of": "tree", "sheath": "disc", "reach": 9}},
            "sheaths.of is 'tree', which is no class of the model",
        ),
        (
            {"sheaths": {"of": "disc", "sheath": "disc", "reach": 9}},
            "sheaths.of and sheaths.sheath are both 'disc'; a sheath is a class of its own",
        ),
        ({"sheaths": {"of": "disc", "sheath": "plain"}}, "sheaths.reach"),
        ({"scenes": []}, "the key scenes is missing; name scenes, or folders of pictures"),
        (
            {"pictures": [{"name": "p", "images": "i", "labels": "l", "instances": "tree"}]},
            "pictures p have the class 'tree'; the classes are ground, disc",
        ),
        ({"steps": 0}, "steps is 0"),
        ({"threads": 2**31}, "threads is 2147483648"),
        ({"loader_processes": 2**31}, "loader_processes is 2147483648"),
        ({"batch": 2**31}, "batch is 2147483648"),
        ({"window": 2**63}, "window is 9223372036854775808"),
        ({"pixel_size": float("inf")}, "pixel_size is inf"),
        ({"loss": {"kind": "hinge"}}, "loss.kind is 'hinge'"),
        ({"classes": [{"name": "a", "color": [0, 0, 0]}]}, "at least 2"),
        ({"name": "Two Words"}, "name is 'Two Words'"),
        ({"name": "v1"}, "name is 'v1': a model has a name of three or more"),
        ({"scenes": [{"name": "a", "raster": "a.tif"}]}, "has no labels"),
        ({"scenes": [{"name": "a", "raster": "a", "labels": "b", "unlabelled": "sea"}]}, "'sea'"),
        ({"loss": {"class_weights": [1, 2, 3]}}, "has 3 values"),
        ({"steps": 10, "optimizer": {"restarts": [10]}}, "lie below steps"),
        ({"augmentation": {"scale": [2, 1]}}, "the smaller must come first"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    assert words in refused(tmp_path / "c.yaml", document() | change)


def test_a_missing_key_a_missing_file_and_no_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    without = {key: value for key, value in document().items() if key != "scenes"}
    assert "the key scenes is missing" in refused(path, without)
    assert "is not YAML" in refused(path, "a: [1")
    assert "holds a list" in refused(path, "- 1")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_training_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": 2**31 - 1}, "batch 8 with windows of 2147483647 px takes"),
        ({"batch": 10**9}, "batch 1000000000 with windows of 256 px takes"),
        ({"tile": 2**30}, "tile 1073741824 px takes"),
    ],
)
def test_what_no_memory_holds_is_refused_before_a_scene_is_opened(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document() | change))
    with pytest.raises(PlanError, match=words):
        train(read_training_config(path), tmp_path, tmp_path / "out", SilentProgress(), device_name="cpu")
    assert not (tmp_path / "out").exists()
