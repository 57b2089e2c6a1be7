"""Objects of a run: as its model says, as options say, the same from `run`, `export` and `polygonize`."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import zarr

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.workflows.batch.results.table import class_columns
from segment_tiles.workflows.config import run_config_from
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.polygons.request import polygonize_as_asked
from segment_tiles.workflows.run.export import export_run
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment

NAMES = ("nucleus", "nucleus border")
RULES = {NAMES[0]: {"border": NAMES[1], "reach": 3}}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "objects.md"


@pytest.fixture(scope="module")
def object_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with other names of classes, and the rule by which one is the border of another."""
    folder = Path(shutil.copytree(small_model, tmp_path_factory.mktemp("model") / "objects"))
    document = json.loads((folder / "model.json").read_text())
    document["properties"]["segment_tiles:objects"] = RULES
    classes = document["properties"]["mlm:output"][0]["classification:classes"]
    for entry, name in zip(classes, ("other", *NAMES), strict=True):
        entry["description"] = name
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def asked(scene: Path, model: Path, out: Path, **options: Any) -> Any:
    fixed = {"precision": "fp32", "device": "cpu", "preview": False, "item": False, "format": "parquet"}
    return run_config_from(source=str(scene), model=str(model), out=out, **{**fixed, **options})


@pytest.fixture(scope="module")
def finished(blob_scene: Path, object_model: Path, quiet: Any, tmp_path_factory: Any) -> Path:
    out: Path = tmp_path_factory.mktemp("objects") / "out"
    segment(asked(blob_scene, object_model, out, scores=True), quiet)
    return out


def polygonized(folder: Path, out: Path, **options: Any) -> bytes:
    polygonize_as_asked(polygonize_config_from(raster=str(folder), out=[out], **options))
    return out.read_bytes()


def test_a_run_has_the_objects_of_its_model(finished: Path, tmp_path: Path) -> None:
    made = (finished / "polygons.parquet").read_bytes()
    assert made == polygonized(finished, tmp_path / "as_model.parquet")
    assert made == polygonized(
        finished, tmp_path / "named.parquet", objects="nucleus:nucleus border:3", vector_tile=33
    )
    rows = geopandas.read_parquet(finished / "polygons.parquet")
    assert set(rows.class_name) == {"other", "nucleus"}
    nuclei = rows[rows.class_name == "nucleus"]
    assert sorted(nuclei.object) == list(range(1, len(nuclei) + 1))
    assert rows[rows.class_name == "other"].object.isna().all()
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    assert run_command_line(["export", str(out), "--format", "parquet", "--objects", "none"]) == 0
    plain = geopandas.read_parquet(out / "polygons.parquet")
    assert set(plain.class_name) == {"other", "nucleus", "nucleus border"}
    assert "objects" in json.loads((finished / "report.json").read_text())
    assert "objects" not in json.loads((out / "report.json").read_text())
    assert "object" not in plain.columns
    assert (out / "polygons.parquet").read_bytes() == polygonized(
        finished, tmp_path / "n.parquet", objects="none"
    )


def test_the_reach_follows_the_pixels_of_the_map(
    blob_scene: Path, object_model: Path, quiet: Any, tmp_path: Path
) -> None:
    out = tmp_path / "finer"
    segment(asked(blob_scene, object_model, out, resolution=4.0), quiet)  # of a source of 2 m
    stored = json.loads((out / "classes.zarr" / "zarr.json").read_text())["attributes"]["segment_tiles"]
    assert stored["objects"] == {"nucleus": {"border": "nucleus border", "reach": 6}}
    made = (out / "polygons.parquet").read_bytes()
    assert made == polygonized(out, tmp_path / "a.parquet", objects="nucleus:nucleus border:6")


def test_an_export_by_thresholds_has_the_objects_of_the_model(finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    export_run(out, ["parquet"], threshold=("nucleus=0.4",))
    made = (out / "polygons.parquet").read_bytes()
    assert set(geopandas.read_parquet(out / "polygons.parquet").class_name) == {"other", "nucleus"}
    export_run(out, ["parquet"], threshold=("nucleus=0.4",), objects=("nucleus:nucleus border:3",))
    assert made == (out / "polygons.parquet").read_bytes()


def test_the_reach_follows_the_pixels_of_another_grid(finished: Path, tmp_path: Path) -> None:
    out, like = Path(shutil.copytree(finished, tmp_path / "copy")), tmp_path / "like.tif"
    with rasterio.open(
        like, "w", driver="GTiff", count=1, height=200, width=200, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 500_050, 0, -1, 4_999_950),
    ):  # fmt: skip
        pass
    made = {}
    for rules in ("model", "nucleus:nucleus border:6", "nucleus:nucleus border:3"):
        export_run(out, ["parquet"], like=str(like), objects=(rules,))
        made[rules] = (out / "polygons.parquet").read_bytes()
    assert made["model"] == made["nucleus:nucleus border:6"] != made["nucleus:nucleus border:3"]


def test_a_reach_that_the_grid_cuts_is_told(blob_scene: Path, object_model: Path, tmp_path: Path) -> None:
    for resolution, expected in ((4.0, 0), (700.0, 1)):
        plan = plan_run(asked(blob_scene, object_model, tmp_path / "out", resolution=resolution))
        found = [
            note for note in plan.scene.warnings if "objects of nucleus reach 1024 px on this grid" in note
        ]
        assert len(found) == expected, plan.scene.warnings
    with rasterio.open(
        tmp_path / "like.tif", "w", driver="GTiff", count=1, height=90, width=90, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.005, 0, 500_150, 0, -0.005, 4_999_850),
    ):  # fmt: skip
        pass
    plan = plan_run(asked(blob_scene, object_model, tmp_path / "out", like=str(tmp_path / "like.tif")))
    assert (
        "--like: objects of nucleus reach 1024 px, the most there is: the model may want more"
        in plan.scene.warnings
    )


def test_a_reclass_takes_the_rules_with_it(finished: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text("crown: nucleus\ngap: nucleus border\n")
    out = tmp_path / "renamed.parquet"
    polygonized(finished, out, reclass=str(renamed))
    assert set(geopandas.read_parquet(out).class_name) == {"other", "crown"}
    merged = tmp_path / "merged.yaml"
    merged.write_text("green: [nucleus, nucleus border]\n")
    polygonized(finished, out, reclass=str(merged))
    assert set(geopandas.read_parquet(out).class_name) == {"other", "green"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"objects": "nucleus:wall:3"},
            "class 'wall' is not in the raster; its classes are: other, nucleus, nucleus border",
        ),
        ({"objects": "cat"}, "'cat'"),
        (
            {"objects": "nucleus:nucleus border"},
            r"--objects has 'nucleus:nucleus border'; give model, none, or for each class CLASS or",
        ),
        ({"objects": "nucleus:nucleus border:0"}, "reach of 0 px; it must be 1 to 1024"),
        ({"objects": "nucleus:nucleus border:1025"}, "reach of 1025 px; it must be 1 to 1024"),
        (
            {"objects": "nucleus:nucleus border:3,nucleus border"},
            "'nucleus border' is the border of .* and has objects itself",
        ),
        (
            {"objects": "nucleus:nucleus border:3,other:nucleus border:4"},
            r"have the reaches \[3, 4\]; give them one",
        ),
        ({"objects": "none", "split_by": "distance"}, "exclude each other"),
        (
            {"split_by": "distance"},
            "the model says how nucleus become objects; name the classes by --objects",
        ),
        (
            {"split_by": "distance", "objects": "nucleus:nucleus border:3"},
            "no class without a border class is named; name one by --objects",
        ),
        ({"split_reach": 9}, "--split-reach is of --split-by, which is not given"),
        ({"objects": "nucleus", "split_depth": 2}, "--split-depth is of --split-by, which is not given"),
        (
            {"classes": "nucleus border"},
            "--classes names 'nucleus border', whose pixels belong to the objects beside them",
        ),
        ({"background": "nucleus"}, r"none of the classes with objects \(nucleus\) becomes a polygon"),
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
        polygonized(finished, tmp_path / "a.parquet", objects="nucleus:nucleus border:40", vector_tile=32)


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
    nuclei = some[some.class_name == "nucleus"]
    assert sorted(nuclei.object) == list(range(1, len(nuclei) + 1)), "numbers have no gaps"


def test_a_run_makes_every_file_of_objects(
    blob_scene: Path, object_model: Path, quiet: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    formats = "objects,labels,labels-cog,qupath"
    segment(asked(blob_scene, object_model, out, format=formats, item=True), quiet)
    table = pandas.read_parquet(out / "objects.parquet")
    with rasterio.open(out / "labels.tif") as dataset:
        numbers = dataset.read(1)
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000)
    values, pixels = np.unique(numbers[numbers > 0], return_counts=True)
    assert dict(zip(table.object, table.pixels, strict=True)) == dict(zip(values, pixels, strict=True))
    np.testing.assert_array_equal(zarr.open_group(out / "labels.zarr", mode="r")["0"][:], numbers)
    report = json.loads((out / "report.json").read_text())
    assert {"objects.parquet", "labels.zarr", "labels.tif", "polygons.qupath.geojson"} <= set(
        report["outputs"]
    )
    (counted,) = report["objects"]["classes"]
    assert (counted["name"], counted["objects"]) == ("nucleus", len(table))
    hectares = sum(entry["pixels"] for entry in report["classes"]) * 4 / 1e4
    assert report["objects"]["density_unit"] == "ha"
    assert counted["density"] == pytest.approx(len(table) / hectares, rel=2e-3), "the scale of the UTM zone"
    row = class_columns(report)
    assert (row["objects nucleus"], row["density nucleus"]) == (len(table), counted["density"])
    item = json.loads((out / "item.json").read_text())
    assert {"objects.parquet", "labels.tif"} <= {Path(a["href"]).name for a in item["assets"].values()}
    stamp = (out / "labels.tif").stat().st_mtime_ns
    segment(asked(blob_scene, object_model, out, format=formats, item=True), quiet)
    assert (out / "labels.tif").stat().st_mtime_ns == stamp, "made already"
    segment(asked(blob_scene, object_model, out, format=formats, item=True, split_by_class=True), quiet)
    assert (out / "objects.nucleus.parquet").is_file()
    with pytest.raises(SegmentTilesError, match="labels holds objects alone, and no class has any"):
        plan_run(asked(blob_scene, object_model, tmp_path / "none", format="labels", objects="none"))


def test_the_commands_of_the_page_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text()
    commands = [line[16:] for line in text.splitlines() if line.startswith("$ segment-tiles ")]
    assert len(commands) == 6
    shutil.copytree(finished, tmp_path / "result")
    with rasterio.open(
        tmp_path / "cells.tif", "w", driver="GTiff", height=60, width=80, count=1, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000),
    ) as dataset:  # fmt: skip
        ys, xs = np.mgrid[:60, :80]
        codes = np.zeros((60, 80), np.uint8)
        for y, x in [(30, 20), (30, 38), (20, 60)]:
            distance = np.hypot(ys - y, xs - x)
            codes[(distance <= 11) & (codes == 0)] = 2
            codes[distance <= 8] = 1
        dataset.write(codes, 1)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert run_command_line(shlex.split(command)) == 0, command
    assert len(geopandas.read_file("cells.gpkg", layer="cells")) == 3
    assert len(pandas.read_parquet("split.objects.parquet")) == 3
    assert pandas.read_parquet("fibres.objects.parquet")["g_ratio"].between(0.5, 0.9).all()
    (python,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    made: dict[str, Any] = {}
    exec(python, made)
    assert made["report"].features == 3, "the background is larger"
