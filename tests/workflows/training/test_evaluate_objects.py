"""`evaluate --objects`: label images and polygons, alone and in folders, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.learning.scores.objects.of_map import objects_of_map

TRANSFORM = Affine(2, 0, 500_000, 0, -2, 4_000_000)
CRS = "EPSG:32612"
BOXES = {"tree": [(2, 2, 12, 12), (12, 2, 22, 12), (30, 20, 38, 30)], "roof": [(20, 20, 28, 30)]}
"""Columns and rows."""
SHAPE = (40, 50)


def label_image(path: Path, boxes: list[tuple[int, int, int, int]], **more: Any) -> NDArray[np.uint32]:
    numbers = np.zeros(SHAPE, dtype=np.uint32)
    for index, (left, top, right, bottom) in enumerate(boxes):
        numbers[top:bottom, left:right] = 70_000 - 3 * index
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint32", "crs": CRS, "transform": TRANSFORM} | more
    with rasterio.open(path, "w", height=SHAPE[0], width=SHAPE[1], **profile) as file:
        file.write(numbers, 1)
    return numbers


def polygons(path: Path, boxes: dict[str, list[tuple[int, int, int, int]]], crs: str = CRS) -> None:
    rows = [
        (name, shapely.box(*TRANSFORM @ box[:2], *TRANSFORM @ box[2:]))
        for name in boxes
        for box in boxes[name]
    ]
    frame = geopandas.GeoDataFrame({"class": [r[0] for r in rows]}, geometry=[r[1] for r in rows], crs=CRS)
    frame.to_crs(crs).to_file(path)


def scores(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command_line(["evaluate", *map(str, arguments), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run_command_line(["evaluate", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def moved(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """The first as it is, the second a column narrower, the last gone."""
    (first, (left, top, right, bottom)) = boxes[:2]
    return [first, (left + 1, top, right, bottom)]


def test_label_images_and_polygons_have_the_same_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_image(tmp_path / "map.tif", moved(BOXES["tree"]))
    label_image(tmp_path / "truth.tif", BOXES["tree"])
    polygons(tmp_path / "map.gpkg", {"tree": moved(BOXES["tree"])})
    polygons(tmp_path / "truth.gpkg", BOXES, crs="EPSG:32612")
    found = [
        scores(capsys, tmp_path / map_name, tmp_path / truth, "--objects", "tree")
        for map_name in ("map.tif", "map.gpkg")
        for truth in ("truth.tif", "truth.gpkg")
    ]
    tree = found[0]["classes"]["tree"]
    assert (tree["true_objects"], tree["mapped_objects"], tree["count_error"]) == (3, 2, -1)
    assert tree["f1"] == 0.8
    assert tree["f1_by_iou"]["0.90"] == 0.8
    assert tree["f1_by_iou"]["0.95"] == 0.4
    assert tree["panoptic_quality"] == pytest.approx(1.9 / 2.5)
    assert tree["aggregated_jaccard"] == pytest.approx(190 / 280, abs=1e-6)
    assert all(document["classes"] == found[0]["classes"] for document in found)
    assert "1 polygon of" in found[1]["notes"][0]


def test_each_class_is_scored_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    polygons(tmp_path / "map.gpkg", {"tree": [BOXES["roof"][0], *BOXES["tree"][1:]]})
    polygons(tmp_path / "truth.geojson", {"conifer": BOXES["tree"], "roof": BOXES["roof"]})
    document = scores(
        capsys, tmp_path / "map.gpkg", tmp_path / "truth.geojson", "--objects", "tree,roof",
        "--class-column", "class", "--class-value", "conifer=tree",
    )  # fmt: skip
    assert document["classes"]["tree"]["f1"] == pytest.approx(2 / 3, abs=1e-6)
    assert (document["classes"]["roof"]["f1"], document["classes"]["roof"]["mapped_objects"]) == (0, 0)


def test_polygons_that_overlap_keep_all_of_their_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [(2, 2, 12, 12), (7, 2, 17, 12)]
    polygons(tmp_path / "truth.gpkg", {"tree": twice})
    polygons(tmp_path / "map.gpkg", {"tree": twice})
    label_image(tmp_path / "map.tif", [twice[0]])
    same = scores(capsys, tmp_path / "map.gpkg", tmp_path / "truth.gpkg", "--objects", "tree")
    assert same["classes"]["tree"]["mean_f1"] == 1
    one = scores(capsys, tmp_path / "map.tif", tmp_path / "truth.gpkg", "--objects", "tree")
    assert one["classes"]["tree"]["recall"] == 0.5
    assert one["classes"]["tree"]["segmentation_quality"] == 1


def test_folders_are_scored_scene_by_scene_and_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("maps", "truth", "maps/c"):
        (tmp_path / name).mkdir()
    label_image(tmp_path / "maps/a.tif", BOXES["tree"])
    label_image(tmp_path / "truth/a.tif", BOXES["tree"])
    label_image(tmp_path / "maps/b.tif", BOXES["tree"][:1])
    polygons(tmp_path / "truth/b.geojson", {"tree": BOXES["tree"]})
    polygons(tmp_path / "maps/c/polygons.gpkg", {"tree": BOXES["tree"]})  # the folder of a run
    label_image(tmp_path / "truth/c.tif", [])
    document = scores(
        capsys, tmp_path / "maps", tmp_path / "truth", "--objects", "tree", "--out", tmp_path / "out"
    )
    assert {name: entry["tree"]["f1"] for name, entry in document["scenes"].items()} == {
        "a": 1,
        "b": 0.5,
        "c": 0,
    }
    assert document["classes"]["tree"]["f1"] == pytest.approx(2 * 4 / (6 + 7), abs=1e-6)
    mean = document["mean_over_scenes"]["tree"]
    assert (mean["scenes"], mean["f1"], mean["absolute_count_error"]) == (
        3,
        0.5,
        pytest.approx(5 / 3, abs=1e-6),
    )
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == document
    assert (
        run_command_line(
            ["evaluate", *map(str, (tmp_path / "maps", tmp_path / "truth")), "--objects", "tree"]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "mean of 3" in shown
    assert "scenes with the lowest F1" in shown


def test_a_map_that_meets_nothing_of_the_truth_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As two files that count rows downwards and upwards do."""
    polygons(tmp_path / "down.gpkg", BOXES)
    away = {
        name: [(left + 5000, top, right + 5000, bottom) for left, top, right, bottom in boxes]
        for name, boxes in BOXES.items()
    }
    polygons(tmp_path / "up.gpkg", away)
    document = scores(capsys, tmp_path / "down.gpkg", tmp_path / "up.gpkg", "--objects", "tree")
    assert document["classes"]["tree"]["f1"] == 0
    assert any("meets one of" in note for note in document["notes"])
    same = scores(capsys, tmp_path / "down.gpkg", tmp_path / "down.gpkg", "--objects", "tree")
    assert not any("meets one of" in note for note in same["notes"])


def test_what_cannot_be_scored_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, vector = tmp_path / "map.tif", tmp_path / "truth.gpkg"
    label_image(image, BOXES["tree"])
    polygons(vector, BOXES)
    polygons(tmp_path / "far.gpkg", BOXES, crs="EPSG:4326")
    with rasterio.open(
        tmp_path / "minus.tif", "w", driver="GTiff", width=5, height=5, count=1, dtype="int16"
    ) as file:
        file.write(np.full((1, 5, 5), -1, dtype=np.int16))
    (tmp_path / "maps").mkdir()
    label_image(tmp_path / "maps/a.tif", [])
    (tmp_path / "truths").mkdir()
    label_image(tmp_path / "truths/b.tif", [])
    asked = ("--objects", "tree")
    assert "a label image, whose objects have no classes" in refused(capsys, image, image, "--objects", "a,b")
    assert "--slices is about pixels" in refused(capsys, image, image, *asked, "--slices", "1,2")
    for option, value in (
        ("--ignore-value", "255"),
        ("--polygon-shape", "inscribed_ellipse"),
        ("--boundary-width", "9"),
        ("--trimap-width", "9"),
    ):
        assert f"{option} is about pixels" in refused(capsys, image, image, *asked, option, value)
    for option, value in (("--class-column", "kind"), ("--class-value", "a=tree")):
        said = refused(capsys, image, image, *asked, option, value)
        assert f"{option} says the class of polygons, but {image} is a label image" in said
    assert "bring the polygons into one CRS" in refused(capsys, vector, tmp_path / "far.gpkg", *asked)
    assert "the number -1" in refused(capsys, tmp_path / "minus.tif", tmp_path / "minus.tif", *asked)
    assert "a.tif has none of its name in" in refused(capsys, tmp_path / "maps", tmp_path / "truths", *asked)
    assert "is a folder of scenes, the other is one scene" in refused(
        capsys, tmp_path / "maps", image, *asked
    )
    assert "no column 'kind'" in refused(capsys, image, vector, *asked, "--class-column", "kind")


def test_objects_at_the_end_of_a_training_are_those_that_polygonize_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    height = gaussian_filter(np.random.default_rng(4).normal(size=(60, 70)), 2)
    codes = np.where(height > 0.035, 1, np.where(height > 0, 2, 0)).astype(np.uint8)
    names = ("ground", "cell", "rim")
    table = ClassTable(
        tuple(MapClass(code, name, (code, 0, 0)) for code, name in enumerate(names)),
        (ObjectRule("cell", "rim", 4, min_pixels=9),),
    )
    place = {"driver": "GTiff", "count": 1, "width": 70, "height": 60, "crs": CRS, "transform": TRANSFORM}
    for name, array in (("codes", codes), ("ours", objects_of_map(codes, table).astype(np.uint16))):
        with rasterio.open(tmp_path / f"{name}.tif", "w", dtype=array.dtype, **place) as file:
            file.write(array, 1)
    command = [
        "polygonize",
        tmp_path / "codes.tif",
        "--out",
        tmp_path / "map.gpkg",
        "--objects",
        "1:2:4",
        "--min-area",
        "9px",
    ]
    assert run_command_line([*map(str, command), "--quiet"]) == 0
    capsys.readouterr()
    document = scores(
        capsys, tmp_path / "ours.tif", tmp_path / "map.gpkg", "--objects", "cell",
        "--class-column", "class_code", "--class-value", "1=cell",
    )  # fmt: skip
    cell = document["classes"]["cell"]
    assert cell["true_objects"] > 10
    assert (cell["mapped_objects"], cell["mean_f1"], cell["dice"]) == (cell["true_objects"], 1, 1)


def test_what_one_side_misses_counts_whatever_nodata_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own label images have nodata 0; a map that ends early misses what lies beyond."""
    codes = np.zeros(SHAPE, dtype=np.uint8)
    for left, top, right, bottom in ((2, 2, 12, 12), (31, 20, 39, 30), (20, 30, 26, 36)):
        codes[top:bottom, left:right] = 1
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": CRS, "transform": TRANSFORM}
    with rasterio.open(tmp_path / "codes.tif", "w", height=SHAPE[0], width=SHAPE[1], **profile) as file:
        file.write(codes, 1)
    command = ["polygonize", tmp_path / "codes.tif", "--out", tmp_path / "ours.labels.tif", "--objects", "1"]
    assert run_command_line([*map(str, command), "--background", "0", "--quiet"]) == 0
    capsys.readouterr()
    with rasterio.open(tmp_path / "ours.labels.tif") as file:
        assert file.nodata == 0
        numbers = file.read(1)
    with rasterio.open(
        tmp_path / "short.tif", "w", height=32, width=SHAPE[1], **(profile | {"dtype": "uint32", "nodata": 0})
    ) as file:
        file.write(numbers[:32], 1)
    label_image(tmp_path / "truth.tif", BOXES["tree"], nodata=0)
    polygons(tmp_path / "truth.gpkg", {"tree": BOXES["tree"]})
    for truth in ("truth.tif", "truth.gpkg"):
        tree = scores(capsys, tmp_path / "ours.labels.tif", tmp_path / truth, "--objects", "tree")["classes"][
            "tree"
        ]
        assert (tree["true_objects"], tree["mapped_objects"]) == (3, 3)
        assert (tree["precision"], tree["recall"]) == (pytest.approx(2 / 3, abs=1e-6),) * 2
        assert tree["segmentation_quality"] == pytest.approx((1 + 70 / 90) / 2, abs=1e-6)
    missed = scores(capsys, tmp_path / "short.tif", tmp_path / "ours.labels.tif", "--objects", "tree")
    assert missed["classes"]["tree"]["true_objects"] == 3
    assert missed["classes"]["tree"]["aggregated_jaccard"] == pytest.approx(192 / 216, abs=1e-6)


def test_polygons_without_a_pixel_count_and_those_outside_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thin, small = shapely.box(30.6, 5, 30.9, 25), shapely.box(40.1, 30.1, 40.4, 30.4)
    for name, more in (
        ("map", [thin]),
        ("truth", [small, shapely.box(90, 5, 95, 9), shapely.box(-9, 5, -2, 9)]),
    ):
        boxes = [shapely.box(2, 2, 12, 12), *more]
        shapes = [shapely.transform(box, lambda xy: np.stack(TRANSFORM @ tuple(xy.T), -1)) for box in boxes]
        geopandas.GeoSeries(shapes, crs=CRS).to_file(tmp_path / f"{name}.gpkg")
    label_image(tmp_path / "map.tif", [(2, 2, 12, 12)])
    label_image(tmp_path / "truth.tif", [(2, 2, 12, 12)])
    document = scores(capsys, tmp_path / "map.tif", tmp_path / "truth.gpkg", "--objects", "tree")
    assert (document["classes"]["tree"]["true_objects"], document["classes"]["tree"]["recall"]) == (2, 0.5)
    assert "2 polygons of" in document["notes"][0]
    assert "outside the grid left out" in document["notes"][0]
    tree = scores(capsys, tmp_path / "map.gpkg", tmp_path / "truth.tif", "--objects", "tree")["classes"][
        "tree"
    ]
    assert (tree["mapped_objects"], tree["precision"]) == (2, 0.5)
    label_image(
        tmp_path / "truth.tif", [(2, 2, 12, 12), (28, 0, 45, 30)], nodata=69_997
    )  # void under the thin one
    tree = scores(capsys, tmp_path / "map.gpkg", tmp_path / "truth.tif", "--objects", "tree")["classes"][
        "tree"
    ]
    assert (tree["mapped_objects"], tree["precision"]) == (1, 1)
