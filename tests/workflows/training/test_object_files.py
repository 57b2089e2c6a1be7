"""Which files `evaluate --objects` takes from folders, runs and files of several classes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning
from scipy.ndimage import gaussian_filter

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


@pytest.mark.parametrize("crs", ["EPSG:32612", None])
def test_a_store_of_labels_scores_as_the_tiff_of_the_same_numbers(
    crs: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As map and as truth, against images, stores and polygons; other pixels of one grid, so that scores are not 1."""
    place = {"crs": crs, "transform": rasterio.Affine(0.5, 0, 4000, 0, -0.5, 9000)} if crs else {}
    smooth = gaussian_filter(np.random.default_rng(8).normal(size=(2, 60, 70)), (0, 2, 2))
    for name, heights in zip(("ours", "theirs"), (smooth[0], smooth[0] + smooth[1] / 3), strict=True):
        (tmp_path / name).mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                tmp_path / f"{name}.tif",
                "w",
                driver="GTiff",
                count=1,
                height=60,
                width=70,
                dtype="uint8",
                **place,
            ) as file:
                file.write((heights > 0.1).astype(np.uint8), 1)
        outs = [f"--out={tmp_path / name / out}" for out in ("a.gpkg", "a.labels.tif", "a.labels.zarr")]
        words = ["--objects", "1", "--background", "0", "--quiet"]
        assert run_command_line(["polygonize", str(tmp_path / f"{name}.tif"), *outs, *words]) == 0
        for ending in ("tif", "zarr"):  # as the folder of a run has it
            folder = tmp_path / f"{name}-{ending}"
            folder.mkdir()
            (tmp_path / name / f"a.labels.{ending}").rename(folder / f"labels.{ending}")
    capsys.readouterr()

    def scored(mapped: str, truth: str, *words: str) -> dict[str, Any]:
        return evaluated(capsys, tmp_path / mapped, tmp_path / truth, "--objects", "tree", *words)["classes"]

    usual = scored("ours-tif", "theirs-tif")
    assert 0.1 < usual["tree"]["mean_f1"] < 0.9
    assert usual["tree"]["true_objects"] > 10
    for mapped, truth in (("zarr", "zarr"), ("zarr", "tif"), ("tif", "zarr"), ("zarr/labels.zarr", "tif")):
        assert scored(f"ours-{mapped}", f"theirs-{truth}") == usual
    of_polygons = ("--class-column", "class_code", "--class-value", "1=tree")
    found = [scored(f"ours-{ending}", "theirs/a.gpkg", *of_polygons) for ending in ("tif", "zarr")]
    assert found[0] == found[1]
    assert found[0]["tree"]["true_objects"] == usual["tree"]["true_objects"]


def test_stores_of_labels_are_paired_in_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("maps", "truth"):
        for name in "ab":
            labels(tmp_path / "codes.tif")
            out = tmp_path / folder / f"{name}.labels.zarr"
            words = ["--out", str(out), "--objects", "1,2", "--classes", "1,2", "--quiet"]
            assert run_command_line(["polygonize", str(tmp_path / "codes.tif"), *words]) == 0
    capsys.readouterr()
    found = evaluated(capsys, tmp_path / "maps", tmp_path / "truth", "--objects", "tree")
    assert sorted(found["scenes"]) == ["a.labels", "b.labels"]
    assert (found["classes"]["tree"]["true_objects"], found["classes"]["tree"]["f1"]) == (4, 1)


def test_a_store_of_labels_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels(tmp_path / "codes.tif")
    store = tmp_path / "a.labels.zarr"
    words = ["--out", str(store), "--objects", "1,2", "--classes", "1,2", "--quiet"]
    assert run_command_line(["polygonize", str(tmp_path / "codes.tif"), *words]) == 0
    other = tmp_path / "other.tif"
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 7, 0, -1, 5)}
    with rasterio.open(
        other, "w", driver="GTiff", height=5, width=20, count=1, dtype="uint8", **place
    ) as file:
        file.write(np.ones((1, 5, 20), np.uint8))
    error = refused(capsys, store, other, "--objects", "tree")
    assert "lies on another grid" in error
    assert "--format labels-cog" in error
    document = json.loads((store / "zarr.json").read_text())
    del document["attributes"]["segment_tiles"]
    (store / "zarr.json").write_text(json.dumps(document))
    error = refused(capsys, store, other, "--objects", "tree")
    assert "does not say where it lies" in error
    assert error.count("\n") == 1


def test_another_store_in_its_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maps/a/labels.zarr").mkdir(parents=True)
    labels(tmp_path / "truth/a.tif")
    for map_path in (tmp_path / "maps", tmp_path / "maps/a", tmp_path / "maps/a/labels.zarr"):
        error = refused(capsys, map_path, tmp_path / "truth", "--objects", "tree")
        assert f"{tmp_path / 'maps/a/labels.zarr'} holds no numbers of objects" in error
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
