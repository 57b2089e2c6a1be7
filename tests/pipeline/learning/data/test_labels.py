"""Labels: what a pixel is called, whatever kind of file says it, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import LabelReader, inscribed_ellipses, open_labels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.open import open_source

NAMES = ("ground", "disc")
WHOLE = Window(0, 0, 160, 160)


def open_labelled(discs: Any, labels: Path | str, **settings: object) -> LabelReader:
    scene = SceneSettings.model_validate(
        {"name": "discs", "raster": "scene.tif", "labels": str(labels), "class_column": "class"} | settings
    )
    source = open_source(str(discs.folder / "scene.tif"))
    try:
        return open_labels(scene, str(discs.folder / labels), source.spec, NAMES)
    finally:
        source.close()


def true_codes(discs: Any) -> np.ndarray:
    with rasterio.open(discs.folder / "codes.tif") as file:
        return np.asarray(file.read(1))


def test_ellipses_in_boxes_are_the_discs(discs: Any) -> None:
    labels = open_labelled(discs, "boxes.geojson", polygon_shape="inscribed_ellipse", unlabelled="ground")
    differing = (labels.read(WHOLE) != true_codes(discs)).sum()
    assert differing <= 4 * len(discs.centers)  # a polygon of 64 sides is not quite a circle


def test_corners_of_boxes_can_be_ignored(discs: Any) -> None:
    whole = open_labelled(discs, "boxes.geojson", unlabelled="ground").read(WHOLE)
    ellipses = open_labelled(
        discs, "boxes.geojson", polygon_shape="inscribed_ellipse", unlabelled="ground"
    ).read(WHOLE)
    codes = open_labelled(
        discs, "boxes.geojson", polygon_shape="ellipse_in_ignored_box", unlabelled="ground"
    ).read(WHOLE)
    corners = (whole == 1) & (ellipses == 0)
    assert corners.any()
    assert (codes == np.where(corners, IGNORE_CODE, ellipses)).all()


def test_without_a_rest_class_pixels_outside_polygons_are_ignored(discs: Any) -> None:
    codes = open_labelled(discs, "boxes.geojson").read(WHOLE)
    assert set(np.unique(codes)) == {1, IGNORE_CODE}
    assert (codes == 1).sum() == len(discs.centers) * (2 * discs.radius) ** 2


@pytest.mark.parametrize("labels", ["boxes.geojson", "codes.tif"])
def test_a_window_is_a_crop_of_the_whole(discs: Any, labels: str) -> None:
    reader = open_labelled(discs, labels, unlabelled="ground")
    window = Window(17, 23, 61, 70)
    assert (reader.read(window) == reader.read(WHOLE)[window.slices()]).all()


def test_the_class_of_a_qupath_annotation_is_the_name_in_its_classification(
    discs: Any, tmp_path: Path
) -> None:
    """QuPath's export nests it: ``"classification": {"name": "disc", "color": [0, 0, 255]}``."""
    document = json.loads((discs.folder / "boxes.geojson").read_text())
    for feature in document["features"]:
        name = feature["properties"].pop("class")
        feature["properties"]["classification"] = {"name": name, "color": [0, 0, 255]}
    (tmp_path / "annotations.geojson").write_text(json.dumps(document))
    ours = open_labelled(discs, tmp_path / "annotations.geojson", class_column="classification").read(WHOLE)
    assert (ours == open_labelled(discs, "boxes.geojson").read(WHOLE)).all()


def test_polygons_in_another_crs_are_reprojected(discs: Any, tmp_path: Path) -> None:
    boxes = geopandas.read_file(discs.folder / "boxes.geojson").to_crs("EPSG:4326")
    boxes.to_file(tmp_path / "geographic.gpkg")
    ours = open_labelled(discs, tmp_path / "geographic.gpkg", unlabelled="ground").read(WHOLE)
    same = open_labelled(discs, "boxes.geojson", unlabelled="ground").read(WHOLE)
    assert (ours != same).mean() < 0.002


def test_a_label_raster_in_another_crs_is_warped(discs: Any, tmp_path: Path) -> None:
    with rasterio.open(discs.folder / "codes.tif") as file:
        transform, width, height = calculate_default_transform(
            file.crs, "EPSG:4326", file.width, file.height, *file.bounds
        )
        warped = np.full((height, width), 9, dtype=np.uint8)
        reproject(
            file.read(1), warped, src_transform=file.transform, src_crs=file.crs, dst_transform=transform,
            dst_crs="EPSG:4326", resampling=Resampling.nearest, dst_nodata=9,
        )  # fmt: skip
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "codes.tif", "w", crs="EPSG:4326", transform=transform, nodata=9, **profile
    ) as file:
        file.write(warped, 1)
    reader = open_labelled(discs, tmp_path / "codes.tif")
    codes = reader.read(WHOLE)
    known = codes != IGNORE_CODE
    assert known.mean() > 0.9
    assert (codes[known] == true_codes(discs)[known]).mean() > 0.98
    assert "warped" in reader.notes[0]


def test_self_crossing_and_empty_polygons_are_repaired_or_left_out(discs: Any, tmp_path: Path) -> None:
    left, bottom, right, top = discs.box_around(80, 60).bounds
    bow_tie = shapely.Polygon([(left, bottom), (right, top), (right, bottom), (left, top)])
    discs.write_polygons(tmp_path / "odd.gpkg", [bow_tie, shapely.Polygon(), discs.box_around(30, 30)])
    reader = open_labelled(discs, tmp_path / "odd.gpkg", unlabelled="ground")
    half_a_box = 2 * discs.radius**2
    assert (reader.read(Window(60, 40, 40, 40)) == 1).sum() == pytest.approx(half_a_box, rel=0.1)
    assert any("self-crossing" in note for note in reader.notes)
    assert any("without an area" in note for note in reader.notes)


def refused(discs: Any, labels: Path | str, **settings: object) -> str:
    with pytest.raises(TrainingError) as caught:
        open_labelled(discs, labels, **settings).read(WHOLE)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_labels_elsewhere_are_refused(discs: Any, tmp_path: Path) -> None:
    discs.write_polygons(tmp_path / "far.gpkg", [shapely.box(0, 0, 10, 10)])
    assert "overlaps the scene discs" in refused(discs, tmp_path / "far.gpkg")


def test_unknown_classes_are_refused(discs: Any, tmp_path: Path) -> None:
    discs.write_polygons(tmp_path / "odd.gpkg", [discs.box_around(30, 30)], ["lake"])
    assert "'lake'" in refused(discs, tmp_path / "odd.gpkg")
    assert "code 1" in refused(discs, "codes.tif", class_values={"0": "ground"})


def test_a_missing_column_is_refused_with_the_columns_there_are(discs: Any) -> None:
    assert "its columns are class" in refused(discs, "boxes.geojson", class_column="kind")


def test_polygons_without_a_crs_are_refused(discs: Any, tmp_path: Path) -> None:
    discs.write_polygons(tmp_path / "nowhere.shp", [discs.box_around(30, 30)])
    (tmp_path / "nowhere.prj").unlink()
    assert "no CRS" in refused(discs, tmp_path / "nowhere.shp")


def test_a_scene_in_a_projection_that_proj_does_not_know_is_refused(discs: Any) -> None:
    wkt = CRS.from_epsg(32633).to_wkt("WKT1_GDAL").replace("Transverse_Mercator", "Transverse_Mer-1tor")
    with closing(open_source(str(discs.folder / "scene.tif"))) as source:
        spec = replace(source.spec, georef=replace(source.spec.georef, crs_wkt=wkt))
    scene = SceneSettings.model_validate(
        {"name": "discs", "raster": "scene.tif", "labels": "boxes.geojson", "class_column": "class"}
    )
    with pytest.raises(TrainingError, match="cannot be brought into the CRS of scene discs"):
        open_labels(scene, str(discs.folder / "boxes.geojson"), spec, NAMES)


def test_only_empty_polygons_are_refused(discs: Any, tmp_path: Path) -> None:
    discs.write_polygons(tmp_path / "empty.gpkg", [shapely.Polygon()])
    assert "empty" in refused(discs, tmp_path / "empty.gpkg")


def test_a_missing_file_is_refused(discs: Any) -> None:
    assert "cannot be read" in refused(discs, "nothing.geojson")
    assert "cannot be read" in refused(discs, "nothing.tif")


def test_an_inscribed_ellipse_fills_its_box() -> None:
    box = shapely.box(2, 3, 12, 7)
    (ellipse,) = inscribed_ellipses(np.array([box], dtype=object))
    assert ellipse.bounds == pytest.approx(box.bounds)
    assert ellipse.area == pytest.approx(np.pi * 5 * 2, rel=0.01)
