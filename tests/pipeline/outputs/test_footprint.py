"""Footprints in longitude and latitude."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from shapely.geometry import Point, shape

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.footprint import footprint


def wkt(code: int) -> str:
    return CRS.from_epsg(code).to_wkt("WKT2_2019")


UTM_12 = wkt(32612)


def signed_area(ring: list[list[float]]) -> float:
    pairs = itertools.pairwise(ring)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2


@given(
    st.floats(-20, 20).filter(lambda x: abs(x) > 0.1),
    st.floats(-20, 20).filter(lambda x: abs(x) > 0.1),
    st.floats(-1, 1),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
def test_every_pixel_lies_in_outline_and_box(
    a: float, e: float, turn: float, height: int, width: int
) -> None:
    georef = GeoRef((a, turn * e / 2, 450000.0, turn * a / 2, e, 4900000.0), UTM_12)
    geometry, (west, south, east, north) = footprint(georef, (height, width))
    outline = shape(geometry)
    assert outline.is_valid
    assert signed_area(geometry["coordinates"][0]) > 0
    to_wgs84 = Transformer.from_crs(32612, 4326, always_xy=True)
    margin = 1e-6 + 1e-4 * (east - west + north - south)
    for column in (0.5, width / 2, width - 0.5):
        for row in (0.5, height / 2, height - 0.5):
            longitude, latitude = to_wgs84.transform(*(georef.affine @ (column, row)))
            assert outline.buffer(margin).contains(Point(longitude, latitude))
            assert west - margin <= longitude <= east + margin
            assert south - margin <= latitude <= north + margin


def test_degrees_come_back_as_they_are() -> None:
    georef = GeoRef((0.5, 0.0, 10.0, 0.0, -0.25, 50.0), wkt(4326))
    geometry, bbox = footprint(georef, (8, 4))
    assert bbox == [10.0, 48.0, 12.0, 50.0]
    assert shape(geometry).equals(
        shape({"type": "Polygon", "coordinates": [[(10, 48), (12, 48), (12, 50), (10, 50), (10, 48)]]})
    )


@pytest.mark.parametrize("first_longitude", [179.0, -181.0])
def test_an_outline_across_the_antimeridian_is_cut_there(first_longitude: float) -> None:
    geometry, bbox = footprint(GeoRef((0.5, 0.0, first_longitude, 0.0, -0.5, 10.0), wkt(4326)), (4, 8)) or (
        {},
        [],
    )
    assert geometry["type"] == "MultiPolygon"
    assert bbox == [179.0, 8.0, -177.0, 10.0]
    boxes = sorted(part.bounds for part in shape(geometry).geoms)
    assert boxes == [(-180.0, 8.0, -177.0, 10.0), (179.0, 8.0, 180.0, 10.0)]


def test_a_projected_raster_across_the_antimeridian() -> None:
    fiji = CRS.from_epsg(3460)  # Fiji 1986 / Fiji Map Grid, centred at 178.75 E
    to_grid = Transformer.from_crs(4326, fiji, always_xy=True)
    x, y = to_grid.transform(179.9, -17.0)
    geometry, (west, _, east, _) = footprint(
        GeoRef((100.0, 0.0, x, 0.0, -100.0, y), fiji.to_wkt("WKT2_2019")), (500, 500)
    ) or ({}, [])
    assert geometry["type"] == "MultiPolygon"
    assert 179 < west <= 180
    assert -180 <= east < -179


@pytest.mark.parametrize("first_longitude", [-180.0, 0.0])
def test_a_raster_of_the_whole_globe(first_longitude: float) -> None:
    geometry, bbox = footprint(
        GeoRef((1.0, 0.0, first_longitude, 0.0, -1.0, 90.0), wkt(4326)), (180, 360)
    ) or (
        {},
        [],
    )
    assert bbox == [-180.0, -90.0, 180.0, 90.0]
    assert shape(geometry).area == pytest.approx(360 * 180)


@pytest.mark.parametrize(("code", "pole"), [(3413, 90.0), (3031, -90.0)])
def test_an_outline_round_a_pole_reaches_it(code: int, pole: float) -> None:
    georef = GeoRef((1000.0, 0.0, -500_000.0, 0.0, -1000.0, 500_000.0), wkt(code))
    geometry, (west, south, east, north) = footprint(georef, (1000, 1000)) or ({}, [])
    assert (west, east) == (-180.0, 180.0)
    assert pole in (south, north)
    assert north - south < 7
    assert shape(geometry).bounds == (west, south, east, north)


@pytest.mark.parametrize(
    "georef",
    [
        GeoRef.of_pixels(),
        GeoRef((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), None, "micrometer"),
        GeoRef(
            (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
            'ENGCRS["building",EDATUM["corner"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
        ),
        GeoRef(
            (100.0, 0.0, 0.0, 0.0, -100.0, 0.0), CRS.from_string("+proj=eqc +R=1737400 +units=m").to_wkt()
        ),
        GeoRef((1e9, 0.0, 1e12, 0.0, -1e9, 1e12), UTM_12),
    ],
    ids=["picture", "microscope", "engineering", "Moon", "outside the projection"],
)
def test_what_has_no_place_on_earth_has_no_footprint(georef: GeoRef) -> None:
    assert footprint(georef, (10, 20)) is None
