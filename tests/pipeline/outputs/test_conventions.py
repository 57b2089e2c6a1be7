"""Attributes of the Zarr conventions against the rules of their schemas (tag v0.1) and of their text."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import pytest
import zarr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores import conventions

UTM = CRS.from_epsg(32612).to_wkt("WKT2_2019")
NORTH_UP = GeoRef((0.1, 0.0, 500000.0, 0.0, -0.1, 4900000.0), UTM)

# The demands of the three schema.json files, written out from their text: const registrations, lengths,
# types and the pattern of a path. (The files themselves are other people's and need a network.)
PATH = r"^(?!/)(?!.*(\.\.))([^/]+(/[^/]+)*)$"
NUMBERS = {"type": "array", "items": {"type": "number"}}
SHAPE = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "items": {"type": "integer", "minimum": 1},
}
TRANSFORM = {**NUMBERS, "minItems": 6, "maxItems": 6}
SPATIAL_SCHEMA = {
    "type": "object",
    "properties": {
        "spatial:dimensions": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "string"},
        },
        "spatial:bbox": {**NUMBERS, "minItems": 4, "maxItems": 4},
        "spatial:transform": TRANSFORM,
        "spatial:transform_type": {"type": "string"},
        "spatial:shape": SHAPE,
        "spatial:registration": {"enum": ["node", "pixel"]},
    },
}
PROJ_SCHEMA = {
    "type": "object",
    "properties": {
        "proj:code": {"type": "string", "pattern": r"^[^:]+:[^:]+$"},
        "proj:wkt2": {"type": "string"},
    },
    "anyOf": [{"required": ["proj:code"]}, {"required": ["proj:wkt2"]}],
}
MULTISCALES_SCHEMA = {
    "type": "object",
    "required": ["layout"],
    "properties": {
        "resampling_method": {"type": "string"},
        "layout": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["asset"],
                "properties": {
                    "asset": {"type": "string", "pattern": PATH},
                    "derived_from": {"type": "string", "pattern": PATH},
                    "transform": {
                        "type": "object",
                        "properties": {"scale": NUMBERS, "translation": NUMBERS},
                    },
                    "spatial:shape": SHAPE,
                    "spatial:transform": TRANSFORM,
                },
                "if": {"required": ["derived_from"]},
                "then": {"required": ["transform"]},
            },
        },
    },
}
UUIDS = {
    "spatial": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "proj": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "multiscales": "d35379db-88df-4056-af3a-620245f8e347",
}
HOST = "https://raw.githubusercontent.com/zarr-conventions"


def check_node(attributes: dict[str, Any], *, is_array: bool) -> None:
    names = {entry["name"] for entry in attributes["zarr_conventions"]}
    for entry in attributes["zarr_conventions"]:
        assert set(entry) == {"name", "uuid", "schema_url", "spec_url", "description"}
        assert entry["uuid"] == UUIDS[entry["name"]]
        assert entry["schema_url"] == f"{HOST}/{entry['name']}/refs/tags/v0.1/schema.json"
    jsonschema.validate(attributes, SPATIAL_SCHEMA)
    # "Property placement" of the spatial specification
    if is_array:
        assert {"spatial:dimensions", "spatial:transform"} <= set(attributes)
        assert "spatial:bbox" not in attributes
        assert "multiscales" not in attributes
    else:
        forbidden = {"spatial:shape", "spatial:transform", "spatial:transform_type", "spatial:registration"}
        assert not forbidden & set(attributes)
    assert ("proj" in names) == any(key.startswith("proj:") for key in attributes)
    if "proj" in names:
        jsonschema.validate(attributes, PROJ_SCHEMA)
    if "multiscales" in attributes:
        assert "multiscales" in names
        jsonschema.validate(attributes["multiscales"], MULTISCALES_SCHEMA)


coefficients = st.floats(-1e7, 1e7, allow_nan=False).filter(lambda x: abs(x) > 1e-6)
georefs = st.builds(
    GeoRef,
    st.tuples(coefficients, coefficients, coefficients, coefficients, coefficients, coefficients),
    st.sampled_from(
        [None, UTM, CRS.from_epsg(4326).to_wkt(), CRS.from_string("+proj=laea +lat_0=7").to_wkt()]
    ),
)
sides = st.integers(1, 5000)


@given(georefs, sides, sides, st.integers(0, 5))
def test_every_node_follows_schema_and_placement(georef: GeoRef, height: int, width: int, count: int) -> None:
    levels = [(-(-height // 2**n), -(-width // 2**n)) for n in range(1, count + 1)]
    check_node(conventions.group_attributes(georef, (height, width), levels), is_array=False)
    check_node(conventions.overview_group_attributes(georef, (height, width)), is_array=False)
    for n, shape in enumerate([(height, width), *levels]):
        check_node(conventions.array_attributes(georef, shape, n), is_array=True)


def test_layout_names_base_by_the_group_itself_and_chains_levels() -> None:
    attributes = conventions.group_attributes(NORTH_UP, (1025, 2000), [(513, 1000), (257, 500)])
    layout = attributes["multiscales"]["layout"]
    assert [entry["asset"] for entry in layout] == [".", "1", "2"]
    assert [entry.get("derived_from") for entry in layout] == [None, ".", "1"]
    assert [entry["transform"]["scale"] for entry in layout] == [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]
    assert [entry["spatial:shape"] for entry in layout] == [[1025, 2000], [513, 1000], [257, 500]]
    assert layout[2]["spatial:transform"] == pytest.approx([0.4, 0, 500000, 0, -0.4, 4900000])
    assert attributes["spatial:bbox"] == pytest.approx([500000, 4900000 - 102.5, 500200, 4900000])


@given(georefs, st.integers(0, 6), st.integers(0, 100), st.integers(0, 100))
def test_pixel_corner_of_a_level_is_the_same_place_at_full_resolution(
    georef: GeoRef, level: int, row: int, column: int
) -> None:
    coarse = Affine(*conventions.level_transform(georef, level)) @ (column, row)
    fine = georef.affine @ (column * 2**level, row * 2**level)
    assert coarse == pytest.approx(fine, rel=1e-9, abs=1e-6)


def test_crs_with_an_exact_code_gives_the_code() -> None:
    assert conventions.crs_attributes(NORTH_UP) == {"proj:code": "EPSG:32612"}


def test_crs_without_an_exact_code_gives_wkt_that_reads_back_equal() -> None:
    crs = CRS.from_string("+proj=tmerc +lat_0=1.5 +lon_0=3.25 +k=0.9993 +x_0=12 +ellps=GRS80 +units=m")
    written = conventions.crs_attributes(GeoRef(NORTH_UP.transform, crs.to_wkt()))
    assert set(written) == {"proj:wkt2"}
    assert CRS.from_wkt(written["proj:wkt2"]) == crs


def test_no_crs_registers_spatial_alone() -> None:
    attributes = conventions.array_attributes(GeoRef.of_pixels(), (3, 4))
    assert [entry["name"] for entry in attributes["zarr_conventions"]] == ["spatial"]
    assert not [key for key in attributes if key.startswith("proj:")]


def test_attributes_survive_a_zarr_store_unchanged() -> None:
    attributes = conventions.group_attributes(NORTH_UP, (9, 7), [(5, 4)])
    group = zarr.create_group(store=zarr.storage.MemoryStore(), zarr_format=3, attributes=attributes)
    assert group.attrs.asdict() == attributes
    # dimension_names of the array must contain the names that spatial:dimensions gives
    array = group.create_array(
        "classes", data=np.zeros((9, 7), np.uint8), dimension_names=conventions.DIMENSIONS
    )
    assert array.metadata.dimension_names == tuple(attributes["spatial:dimensions"])
