"""Shapefiles, KML and files by class: read back with GDAL, feature for feature what the GeoParquet file has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from pyproj import Transformer

import segment_tiles as st
from segment_tiles.cli.main import run_command_line

Run = Callable[..., Path]
KML = "{http://www.opengis.net/kml/2.2}"


def export(folder: Path, *words: str) -> None:
    assert run_command_line(["export", str(folder), *words]) == 0


def same_shapes(left: Any, right: Any) -> bool:
    """Return whether outlines are equal, whatever point each begins at."""
    return bool(
        np.all(shapely.equals(shapely.normalize(np.asarray(left)), shapely.normalize(np.asarray(right))))
    )


@pytest.mark.parametrize("options", [[], ["--connectivity", "8"]], ids=["4", "8"])
def test_a_shapefile_has_every_feature_with_its_holes(scored: Path, options: list[str]) -> None:
    export(scored, "--format", "parquet,shp", *options)
    whole, read = (
        geopandas.read_parquet(scored / "polygons.parquet"),
        geopandas.read_file(scored / "polygons.shp"),
    )
    assert {path.suffix for path in scored.glob("polygons.*")} == {
        ".parquet", ".shp", ".shx", ".dbf", ".prj", ".cpg", ".qml",
    }  # fmt: skip
    assert read.crs == whole.crs
    assert sum(len(shape.interiors) for part in whole.geometry for shape in shapely.get_parts(part)) > 0
    assert same_shapes(whole.geometry, read.geometry)
    short = {
        "perimeter_m": "perim_m", "area_planar_m2": "planar_m2", "touches_edge": "at_edge",
        "touches_nodata": "at_nodata",
    }  # fmt: skip
    assert max(map(len, read.columns.drop("geometry"))) <= 10
    for name in whole.columns.drop("geometry"):
        column = read[short.get(name, name)]
        if whole[name].dtype.kind == "f":
            assert np.allclose(column, whole[name], rtol=1e-12)
        else:
            assert column.tolist() == whole[name].tolist()
    warnings = json.loads((scored / "report.json").read_text())["warnings"]
    assert any("names of at most 10 characters: area_planar_m2 is planar_m2" in text for text in warnings)
    before = {path.suffix: path.read_bytes() for path in scored.glob("polygons.*")}
    export(scored, "--format", "shp", *options)
    assert all(before[path.suffix] == path.read_bytes() for path in scored.glob("polygons.*"))


def test_kml_is_in_longitude_and_latitude_and_in_the_colours_of_the_classes(scored: Path) -> None:
    export(scored, "--format", "parquet,kml")
    whole = geopandas.read_parquet(scored / "polygons.parquet")
    read = geopandas.read_file(scored / "polygons.kml")
    assert read.crs == "EPSG:4326"
    assert read["class_name"].tolist() == read["Name"].tolist() == whole["class_name"].tolist()
    assert read["id2"].tolist() == whole["id"].tolist()  # the placemarks have ids of their own
    for column in ("class_code", "pixels", "area_m2"):  # numbers, no texts
        assert read[column].dtype.kind in "if"
        np.testing.assert_allclose(read[column], whole[column])
    to_globe = Transformer.from_crs(32633, 4326, always_xy=True)
    expected = shapely.transform(np.asarray(whole.geometry), to_globe.transform, interleaved=False)
    back = np.asarray(shapely.force_2d(read.geometry))
    assert shapely.hausdorff_distance(expected, back).max() < 1e-9
    text = (scored / "polygons.kml").read_text()
    assert text.count("<PolyStyle><color>80287814</color>") == (whole["class_name"] == "tree").sum()
    assert "ff0000ff" not in text.replace("<LineStyle><color>ffff0000", "")


def test_kml_has_the_colours_of_classes_whatever_their_names(scored: Path, tmp_path: Path) -> None:
    names = {"other": "\"old\" <b> & 'new'", "tree": "two\nlines", "water": "a\u00a0\ttab"}
    path = tmp_path / "names.json"
    path.write_text(json.dumps({new: {"from": old} for old, new in names.items()}))
    export(scored, "--format", "parquet,kml", "--reclass", str(path))
    whole = geopandas.read_parquet(scored / "polygons.parquet")
    places = ElementTree.parse(scored / "polygons.kml").getroot().iter(f"{KML}Placemark")
    found = [
        (place.findtext(f"{KML}name"), place.findtext(f"{KML}Style/{KML}PolyStyle/{KML}color"))
        for place in places
    ]
    assert set(whole["class_name"]) == set(names.values())
    assert found == [
        (name, f"80{color[5:]}{color[3:5]}{color[1:3]}")
        for name, color in zip(whole["class_name"], whole["color"], strict=True)
    ]


def test_kml_of_a_raster_without_a_crs_is_refused(tmp_path: Path, refused: Callable[..., None]) -> None:
    with rasterio.open(
        tmp_path / "codes.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8"
    ) as file:
        file.write(np.ones((1, 9, 9), np.uint8))
    refused(["polygonize", str(tmp_path / "codes.tif"), "--out", str(tmp_path / "a.kml")], "kml needs a CRS")


def test_files_by_class_hold_together_what_one_file_holds(scored: Path, tmp_path: Path) -> None:
    export(scored, "--format", "parquet")
    whole = geopandas.read_parquet(scored / "polygons.parquet")
    export(scored, "--format", "parquet,gpkg,shp", "--split-by-class", "--classes", "tree,water")
    names = sorted(
        path.name for path in scored.glob("polygons.*.*") if path.suffix in {".parquet", ".gpkg", ".shp"}
    )
    assert names == [
        f"polygons.{name}.{kind}" for name in ("tree", "water") for kind in ("gpkg", "parquet", "shp")
    ]
    assert not (scored / "polygons.parquet").exists()
    for name in ("tree", "water"):
        part = geopandas.read_parquet(scored / f"polygons.{name}.parquet")
        expected = whole[whole["class_name"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(part.to_wkb()), pd.DataFrame(expected.to_wkb()))
        assert same_shapes(part.geometry, geopandas.read_file(scored / f"polygons.{name}.shp").geometry)
        assert (scored / f"polygons.{name}.qml").read_text().count("<category ") == 1
    report = json.loads((scored / "report.json").read_text())
    assert set(names) <= set(report["outputs"])
    assets = json.loads((scored / "item.json").read_text())["assets"]
    assert assets["polygons.tree.gpkg"]["type"] == "application/geopackage+sqlite3"
    read = st.open_result(scored).polygons()
    assert sorted(read["id"]) == sorted(whole[whole["class_name"] != "other"]["id"])
    # one class fewer: the file of the other does not stay
    export(scored, "--format", "parquet", "--split-by-class", "--classes", "tree")
    assert [path.name for path in scored.glob("polygons.*.parquet")] == ["polygons.tree.parquet"]
    assert "polygons.water.parquet" not in json.loads((scored / "report.json").read_text())["outputs"]
    config = [
        "polygonize",
        str(scored / "classes.zarr"),
        "--out",
        str(tmp_path / "a.gpkg"),
        "--split-by-class",
    ]
    assert run_command_line([*config, "--quiet"]) == 0
    made = [geopandas.read_file(path, layer="a") for path in sorted(tmp_path.glob("a.*.gpkg"))]
    assert sorted(pd.concat(made)["id"]) == sorted(whole["id"])


def test_a_run_by_class_is_kept_and_a_restart_leaves_nothing_of_it(run_blobs: Run, tmp_path: Path) -> None:
    out = run_blobs(tmp_path / "run", format="shp,parquet", split_by_class=True)
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("polygons.*")}
    assert "polygons.tree.parquet" in made
    run_blobs(out, format="shp,parquet", split_by_class=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("polygons.*")} == made
    run_blobs(out, format="parquet", restart=True)
    assert sorted(path.name for path in out.glob("polygons.*")) == ["polygons.parquet", "polygons.qml"]


def test_many_small_features_by_class_keep_their_order(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(0, 5, (96, 90)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "codes.tif", "w", driver="GTiff", width=90, height=96, count=1, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as file:  # fmt: skip
        file.write(codes, 1)
    settings: dict[str, Any] = {"band": 1, "vector_tile": 40}
    st.polygonize(tmp_path / "codes.tif", out=tmp_path / "a.parquet", **settings)
    made = st.polygonize(tmp_path / "codes.tif", out=tmp_path / "b.parquet", split_by_class=True, **settings)
    whole = geopandas.read_parquet(tmp_path / "a.parquet")
    assert [path.name for path in made.files] == [f"b.class_{code}.parquet" for code in range(5)]
    for code, path in enumerate(made.files):
        expected = whole[whole["class_code"] == code].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            pd.DataFrame(geopandas.read_parquet(path).to_wkb()), pd.DataFrame(expected.to_wkb())
        )
