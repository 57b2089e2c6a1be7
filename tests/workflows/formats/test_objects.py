"""Objects of a run: as its model says, as options say, the same from `run`, `export` and `polygonize`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import pytest

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.polygons.request import polygonize_as_asked
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment

RULES = {"tree": {"border": "water", "reach": 3}}


@pytest.fixture(scope="module")
def object_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, whose water is the border of trees."""
    folder = Path(shutil.copytree(small_model, tmp_path_factory.mktemp("model") / "objects"))
    document = json.loads((folder / "model.json").read_text())
    document["properties"]["segment_tiles:objects"] = RULES
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def asked(scene: Path, model: Path, out: Path, **options: Any) -> Any:
    fixed = {"precision": "fp32", "device": "cpu", "preview": False, "item": False, "format": "parquet"}
    return run_config_from(source=str(scene), model=str(model), out=out, **{**fixed, **options})


@pytest.fixture(scope="module")
def finished(blob_scene: Path, object_model: Path, quiet: Any, tmp_path_factory: Any) -> Path:
    out: Path = tmp_path_factory.mktemp("objects") / "out"
    segment(asked(blob_scene, object_model, out), quiet)
    return out


def polygonized(folder: Path, out: Path, **options: Any) -> bytes:
    polygonize_as_asked(polygonize_config_from(raster=str(folder), out=[out], **options))
    return out.read_bytes()


def test_a_run_has_the_objects_of_its_model(finished: Path, tmp_path: Path) -> None:
    made = (finished / "polygons.parquet").read_bytes()
    assert made == polygonized(finished, tmp_path / "as_model.parquet")
    assert made == polygonized(finished, tmp_path / "named.parquet", objects="tree:water:3", vector_tile=33)
    rows = geopandas.read_parquet(finished / "polygons.parquet")
    assert set(rows.class_name) == {"other", "tree"}
    trees = rows[rows.class_name == "tree"]
    assert sorted(trees.object) == list(range(1, len(trees) + 1))
    assert rows[rows.class_name == "other"].object.isna().all()
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    assert run_command_line(["export", str(out), "--format", "parquet", "--objects", "none"]) == 0
    plain = geopandas.read_parquet(out / "polygons.parquet")
    assert set(plain.class_name) == {"other", "tree", "water"}
    assert "object" not in plain.columns
    assert (out / "polygons.parquet").read_bytes() == polygonized(
        finished, tmp_path / "n.parquet", objects="none"
    )


def test_a_reclass_takes_the_rules_with_it(finished: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text("crown: tree\ngap: water\n")
    out = tmp_path / "renamed.parquet"
    polygonized(finished, out, reclass=str(renamed))
    assert set(geopandas.read_parquet(out).class_name) == {"other", "crown"}
    merged = tmp_path / "merged.yaml"
    merged.write_text("green: [tree, water]\n")
    polygonized(finished, out, reclass=str(merged))
    assert set(geopandas.read_parquet(out).class_name) == {"other", "green"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"objects": "tree:wall:3"},
            "class 'wall' is not in the raster; its classes are: other, tree, water",
        ),
        ({"objects": "cat"}, "'cat'"),
        (
            {"objects": "tree:water"},
            r"--objects has 'tree:water'; give model, none, or for each class CLASS or",
        ),
        ({"objects": "tree:water:0"}, "reach of 0 px; it must be 1 to 1024"),
        ({"objects": "tree:water:1025"}, "reach of 1025 px; it must be 1 to 1024"),
        ({"objects": "tree:water:3,water"}, "'water' is the border of .* and has objects itself"),
        ({"objects": "tree:water:3,other:water:4"}, r"have the reaches \[3, 4\]; give them one"),
        ({"objects": "none", "split_by": "distance"}, "exclude each other"),
        ({"split_by": "distance"}, "no class without a border class is named; name one by --objects"),
        ({"classes": "water"}, "--classes names 'water', whose pixels belong to the objects beside them"),
        ({"background": "tree"}, r"none of the classes with objects \(tree\) becomes a polygon"),
        ({"max_area": "5px", "min_area": "9px"}, "maximum area is 5 px; it must be 9 px or more"),
        ({"min_confidence": 1.5}, "minimum confidence is 1.5; it must be 0 to 1"),
        ({"edge": "cut"}, "--edge is 'cut'"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(
    options: dict[str, Any], told: str, blob_scene: Path, object_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SegmentTilesError, match=told):
        plan_run(asked(blob_scene, object_model, tmp_path / "out", **options))


def test_a_reach_beyond_a_vector_tile_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(SegmentTilesError, match="a reach of 40 px, but vector tiles a side of 32 px"):
        polygonized(finished, tmp_path / "a.parquet", objects="tree:water:40", vector_tile=32)


def test_filters_leave_out_objects(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "some.parquet"
    polygonized(finished, tmp_path / "all.parquet", vector_tile=40)
    every = geopandas.read_parquet(tmp_path / "all.parquet")
    middle = float(every.confidence.median())
    polygonized(
        finished, out, edge="drop", max_area="200px", min_area="3px", min_confidence=middle, vector_tile=40
    )
    some = geopandas.read_parquet(out)
    kept = every[~every.touches_edge & every.pixels.between(3, 200) & (every.confidence >= middle)]
    assert 0 < len(some) == len(kept) < len(every)
    assert set(some.id) == set(kept.id)
    trees = some[some.class_name == "tree"]
    assert sorted(trees.object) == list(range(1, len(trees) + 1)), "numbers have no gaps"
