"""item.json: core schema offline, extensions by the rules of their specifications."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
from pyproj import CRS
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stac_item import Provenance, write_item
from segment_tiles.workflows.results.item import item_file

UTM = GeoRef((0.5, 0.0, 500000.0, 0.0, -0.5, 4900000.0), CRS.from_epsg(32612).to_wkt("WKT2_2019"))
CREATED = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
COUNTS = (50_000, 9_999, 1)


def provenance(acquired: Any = None) -> Provenance:
    return Provenance(
        sources=("https://example.com/scene.tif",),
        model="../models/canopy/model.json",
        model_name="canopy",
        created=CREATED,
        software={"segment-tiles": "0.1.0"},
        acquired=acquired,
    )


def validate_core(document: dict[str, Any]) -> None:
    """Against the item schema that pystac carries; no network."""
    JsonSchemaSTACValidator().validate_core(
        document, pystac.STACObjectType.ITEM, document["stac_version"], None
    )


@pytest.fixture
def make_item(make_store, patchy_classes, table, tmp_path: Path):
    def make(*, georef: GeoRef = UTM, acquired: Any = None, table: ClassTable = table) -> dict[str, Any]:
        group = make_store(patchy_classes(200, 300), georef=georef, table=table)
        write_cog(group, tmp_path / "classes.tif")
        (tmp_path / "polygons.parquet").write_bytes(b"PAR1")
        (tmp_path / "preview.png").write_bytes(b"png")
        files = [
            item_file(tmp_path / name)
            for name in ("classes.zarr", "classes.tif", "polygons.parquet", "preview.png")
        ]
        write_item(
            tmp_path / "item.json",
            files,
            georef=georef,
            shape=(200, 300),
            table=table,
            pixel_counts=COUNTS,
            provenance=provenance(acquired),
        )
        document: dict[str, Any] = json.loads((tmp_path / "item.json").read_text())
        return document

    return make


def test_the_core_schema_does_reject_a_broken_item(make_item) -> None:
    document = make_item()
    validate_core(document)
    del document["properties"]["datetime"]
    with pytest.raises(pystac.errors.STACValidationError):
        validate_core(document)


def test_item_stands_where_the_raster_is(make_item, tmp_path: Path) -> None:
    document = make_item()
    item = pystac.Item.from_dict(document)
    assert document["id"] == tmp_path.name
    assert document["geometry"]["type"] == "Polygon"
    west, south, east, north = document["bbox"]
    assert (west, south) == pytest.approx((-111.0, 44.25), abs=0.01)
    assert west < east < west + 0.01
    assert south < north < south + 0.01
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32612"
    assert projection.shape == [200, 300]
    assert projection.transform == list(UTM.transform)
    assert projection.bbox == [500000.0, 4899900.0, 500150.0, 4900000.0]


def test_assets_have_checksum_size_type_and_role(make_item, tmp_path: Path) -> None:
    assets = make_item()["assets"]
    assert list(assets) == ["classes-zarr", "classes", "polygons.parquet", "preview"]
    for asset in assets.values():
        file = tmp_path / asset["href"]
        assert file.exists()
        assert asset["type"]
        assert asset["roles"]
        if file.is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            # multihash: 0x12 is sha2-256, 0x20 its length
            assert asset["file:checksum"] == f"1220{digest}"
            assert asset["file:size"] == file.stat().st_size
    assert "file:checksum" not in assets["classes-zarr"]
    assert assets["classes"]["type"] == pystac.MediaType.COG


def test_classes_follow_the_classification_extension(make_item, table) -> None:
    item = pystac.Item.from_dict(make_item())
    for key in ("classes", "classes-zarr"):
        asset = item.assets[key]
        classes = ClassificationExtension.ext(asset).classes
        assert [c.value for c in classes] == [0, 1, 2, 255]
        assert [c.title for c in classes] == [*table.names, "no class"]
        assert [c.color_hint for c in classes[:3]] == ["C8B48C", "1E7832", "285AC8"]
        assert all(re.fullmatch("[0-9A-Za-z_-]+", c.name) for c in classes)
        assert [c.count for c in classes[:3]] == list(COUNTS)
        assert sum(c.percentage for c in classes[:3]) == pytest.approx(100)
        assert classes[3].to_dict()["nodata"] is True
        fields = asset.extra_fields
        assert fields["bands"] == [{"name": "classes", "data_type": "uint8", "nodata": 255}]
        assert fields["raster:sampling"] == "area"
        assert fields["raster:spatial_resolution"] == pytest.approx(0.5002, rel=1e-6), "on the ground"


def test_names_that_become_the_same_slug_stay_apart(make_item) -> None:
    names = ("a b", "a/b", "nodata")
    table = ClassTable(tuple(MapClass(i, name, (i, i, i)) for i, name in enumerate(names)))
    classes = make_item(table=table)["assets"]["classes"]["classification:classes"]
    assert [c["name"] for c in classes] == ["a_b", "a_b_1", "nodata_2", "nodata"]


def test_processing_names_model_and_level(make_item) -> None:
    document = make_item()
    properties = document["properties"]
    assert properties["processing:level"] == "L4"
    assert properties["processing:expression"] == {
        "format": "stac-mlm",
        "expression": "../models/canopy/model.json",
    }
    assert properties["processing:software"] == {"segment-tiles": "0.1.0"}
    derived = [link for link in document["links"] if link["rel"] == "derived_from"]
    assert [link["href"] for link in derived] == [
        "https://example.com/scene.tif",
        "../models/canopy/model.json",
    ]
    assert derived[1]["mlm:name"] == "canopy"


@pytest.mark.parametrize(
    ("acquired", "expected"),
    [
        (datetime(2021, 7, 4, 12, tzinfo=UTC), ("2021-07-04T12:00:00Z", None, None)),
        (
            (datetime(2021, 7, 1, tzinfo=UTC), datetime(2021, 7, 31, tzinfo=UTC)),
            (None, "2021-07-01T00:00:00Z", "2021-07-31T00:00:00Z"),
        ),
        # nobody knows when: before the run, that is certain
        (None, (None, "1900-01-01T00:00:00Z", "2026-11-22T18:30:00Z")),
    ],
)
def test_times(make_item, acquired: Any, expected: tuple[str | None, ...]) -> None:
    document = make_item(acquired=acquired)
    validate_core(document)
    properties = document["properties"]
    found = tuple(properties.get(key) for key in ("datetime", "start_datetime", "end_datetime"))
    assert found == expected
    assert "datetime" in properties
    assert properties["created"] == "2026-11-22T18:30:00Z"


@pytest.mark.parametrize("unit", ["pixel", "micrometer"])
def test_without_crs_geometry_is_null_and_there_is_no_box(make_item, unit: str) -> None:
    document = make_item(georef=GeoRef((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), None, unit))
    validate_core(document)
    assert document["geometry"] is None
    assert "bbox" not in document
    assert document["properties"]["proj:code"] is None
    assert "raster:spatial_resolution" not in document["assets"]["classes"]


def test_crs_without_code_is_given_as_wkt(make_item) -> None:
    wkt = CRS.from_string("+proj=laea +lat_0=44 +lon_0=-111 +units=m").to_wkt("WKT2_2019")
    properties = make_item(georef=GeoRef(UTM.transform, wkt))["properties"]
    assert properties["proj:code"] is None
    assert CRS.from_wkt(properties["proj:wkt2"]) == CRS.from_wkt(wkt)


def test_every_field_with_a_prefix_has_its_extension(make_item) -> None:
    document = make_item()
    prefixes = {
        key.split(":")[0]
        for fields in (document["properties"], *document["assets"].values())
        for key in fields
        if ":" in key
    }
    names = {"proj": "projection"}
    declared = {url.split("/")[3] for url in document["stac_extensions"]}
    assert declared == {names.get(prefix, prefix) for prefix in prefixes}


def test_same_result_gives_the_same_bytes(make_item, tmp_path: Path) -> None:
    make_item()
    first = (tmp_path / "item.json").read_bytes()
    make_item()
    assert (tmp_path / "item.json").read_bytes() == first
