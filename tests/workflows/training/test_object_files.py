"""Which files `evaluate --objects` takes from folders, runs and files of several classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from segment_tiles.cli.main import run_command_line


def polygons(path: Path, *names: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    boxes = [shapely.box(9 * i, 0, 9 * i + 5, 5) for i in range(len(names))]
    geopandas.GeoDataFrame({"class_name": names}, geometry=boxes, crs="EPSG:32612").to_file(path)


def labels(path: Path) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 0, 0, -1, 5)}
    with rasterio.open(
        path, "w", driver="GTiff", height=5, width=20, count=1, dtype="uint8", **place
    ) as file:
        file.write(np.repeat([1, 0, 2, 0], 5)[None].repeat(5, 0).astype(np.uint8), 1)


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command_line(["evaluate", *map(str, arguments), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run_command_line(["evaluate", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_files_beside_objects_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("maps/a.gpkg", "truth/a.shp", "maps/s.v1/polygons.gpkg", "maps/s.v2/polygons.gpkg",
                 "truth/s.v1.gpkg", "truth/s.v2.gpkg", "maps/j.json", "truth/j.json"):  # fmt: skip
        if name.endswith(".json"):
            polygons(tmp_path / "j.geojson", "tree")
            (tmp_path / name).write_bytes((tmp_path / "j.geojson").read_bytes())
        else:
            polygons(tmp_path / name, "tree")
    for name in ("maps/a.qml", "truth/a.qix", "maps/readme.md"):
        (tmp_path / name).write_text("")
    found = evaluated(
        capsys, tmp_path / "maps", tmp_path / "truth", "--objects", "tree", "--class-column", "class_name"
    )
    assert sorted(found["scenes"]) == ["a", "j", "s.v1", "s.v2"]
    assert found["classes"]["tree"]["f1"] == 1


def test_a_store_of_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maps/a/labels.zarr").mkdir(parents=True)
    labels(tmp_path / "truth/a.tif")
    for map_path in (tmp_path / "maps", tmp_path / "maps/a", tmp_path / "maps/a/labels.zarr"):
        error = refused(capsys, map_path, tmp_path / "truth", "--objects", "tree")
        assert f"{tmp_path / 'maps/a/labels.zarr'} is a store of numbers" in error
        assert error.count("\n") == 1


def test_of_a_run_with_several_classes_polygons_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, truth = tmp_path / "run", tmp_path / "truth.gpkg"
    labels(run / "labels.tif")
    polygons(truth, "tree", "roof")
    pd.DataFrame({"class_name": ["tree", "roof"]}).to_parquet(run / "objects.parquet")
    for path in (run, run / "labels.tif"):
        error = refused(capsys, path, truth, "--objects", "tree")
        assert "labels.tif has objects of roof, tree and does not say which is which" in error
    polygons(run / "polygons.gpkg", "tree", "roof")
    found = evaluated(capsys, run, truth, "--objects", "tree,roof")
    assert {name: entry["f1"] for name, entry in found["classes"].items()} == {"tree": 1, "roof": 1}


def test_a_class_that_the_truth_has_not_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polygons(tmp_path / "map.gpkg", "nucleus")
    polygons(tmp_path / "truth.gpkg", "Nucleus", "stroma")
    error = refused(capsys, tmp_path / "map.gpkg", tmp_path / "truth.gpkg", "--objects", "nucleus")
    assert "is of the class nucleus; there are Nucleus, stroma" in error
    found = evaluated(
        capsys, tmp_path / "map.gpkg", tmp_path / "truth.gpkg", "--objects", "nucleus,stroma",
        "--class-value", "Nucleus=nucleus",
    )  # fmt: skip
    assert f"{tmp_path / 'map.gpkg'} has no polygon of the class stroma" in found["notes"]
