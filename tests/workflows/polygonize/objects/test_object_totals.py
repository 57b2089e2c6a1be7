"""How many objects there are, on how much ground, and what is told of rules that found nothing."""

from pathlib import Path

import numpy as np
import pytest

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.files import object_files
from segment_tiles.pipeline.vectors.objects.rules import check_objects
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.workflows.polygons.polygonize import polygonize


def made(raster: Path, out: Path, *rules: ObjectRule, **options):
    return polygonize(raster, [out], PolygonizeOptions(objects=rules, **options))


def test_density_counts_the_ground_of_the_pixels_with_a_class(class_raster, tmp_path: Path) -> None:
    codes = np.full((400, 30), 9, np.uint8)  # 40 to 80 degrees north
    codes[:20] = 0
    codes[5:8, 5:8] = 1
    raster = class_raster(tmp_path / "a.tif", codes, crs="EPSG:4326", transform=(0.1, 0, 9, 0, -0.1, 80))
    reports = [
        made(raster, tmp_path / "a.parquet", ObjectRule("1"), vector_tile=side) for side in (2048, 64, 37)
    ]
    hectares = sum(entry.area for entry in reports[0].classes) / 1e4
    (density,) = [entry.density for entry in reports[0].classes if entry.code == 1]
    assert density == pytest.approx(1 / hectares, rel=1e-3)
    assert reports[0].classes == reports[1].classes == reports[2].classes


def test_a_class_without_an_object_is_counted(class_raster, tmp_path: Path) -> None:
    codes = np.zeros((20, 30), np.uint8)
    codes[5:8, 5:8] = 1
    raster = class_raster(tmp_path / "a.tif", codes)
    report = made(raster, tmp_path / "a.parquet", *map(ObjectRule, ("7", "1", "5")), background="5")
    assert [entry.code for entry in report.classes] == [0, 1, 7]
    counted = report.objects()
    assert counted is not None
    assert [(entry["code"], entry["objects"]) for entry in counted["classes"]] == [(1, 1), (7, 0)]
    assert counted["classes"][1]["density"] == 0


def test_a_reach_that_takes_more_memory_than_planned_is_refused() -> None:
    ObjectRule("1", None, 256, "distance")
    ObjectRule("1", "2", 1024)
    with pytest.raises(
        SegmentTilesError, match="split by distance have a reach of 257 px; it must be 1 to 256"
    ):
        ObjectRule("1", None, 257, "distance")


def test_rules_without_a_pixel_are_told(class_raster, tmp_path: Path) -> None:
    codes = np.zeros((20, 30), np.uint8)
    codes[5:8, 5:8] = 1
    raster = class_raster(tmp_path / "a.tif", codes)
    rules = (ObjectRule("7", "8", 3), ObjectRule("1"))
    assert made(raster, tmp_path / "b.parquet", *rules, vector_tile=11).notes == (
        "no pixel is of class 7: it has no objects",
        "no pixel is of class 8, the border between objects: those that touch are one",
    )


def test_more_objects_and_rules_than_numbers_hold_are_refused(
    class_raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.zeros((9, 9), np.uint8)
    codes[::4, ::4] = 1
    raster = class_raster(tmp_path / "a.tif", codes)
    monkeypatch.setattr(object_files, "LARGEST_NUMBER", 8)
    with pytest.raises(SegmentTilesError, match="9 objects are more than the 8 numbers of 32 bits"):
        made(raster, tmp_path / "a.labels.tif", ObjectRule("1"))
    spec = ClassRasterSpec(9, 9, "uint16", None, GeoRef.of_pixels())
    rules = tuple(ObjectRule(str(code)) for code in range(16_385))
    with pytest.raises(SegmentTilesError, match="names 16,385 classes; at most 16384"):
        check_objects(spec, PolygonizeOptions(objects=rules))
