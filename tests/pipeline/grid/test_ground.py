"""Areas and lengths on the ellipsoid, against Karney's geodesics (pyproj.Geod) along densified edges."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from pyproj import CRS, Transformer
from shapely.geometry import LinearRing, Point, Polygon, box

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import Ground, ground_of
from segment_tiles.pipeline.grid.window import Window

PIECES = 1500
"""Geodesics that stand for each ring."""


def ground(code: str) -> Ground:
    found = ground_of(GeoRef((1.0, 0.0, 0.0, 0.0, -1.0, 0.0), CRS.from_user_input(code).to_wkt("WKT2_2019")))
    assert found is not None
    return found


def judged(code: str, polygon: Polygon) -> tuple[float, float]:
    """Return area and perimeter; edges are straight in the CRS."""
    crs = CRS.from_user_input(code)
    base = crs.geodetic_crs
    assert base is not None
    geod, degrees = base.get_geod(), np.degrees(base.axis_info[0].unit_conversion_factor)
    assert geod is not None
    to_base = Transformer.from_crs(crs, base, always_xy=True)

    def ring(line: LinearRing) -> tuple[float, float]:
        x, y = np.array(shapely.segmentize(line, line.length / PIECES).coords).T
        longitude, latitude = to_base.transform(x, y)
        area, length = geod.polygon_area_perimeter(longitude * degrees, latitude * degrees)
        return abs(area), length

    area, length = ring(polygon.exterior)
    for hole in polygon.interiors:
        without, more = ring(hole)
        area, length = area - without, length + more
    return area, length


def size(code: str, polygon: Polygon) -> float:
    """Return the width of a figure in metres, roughly."""
    crs = CRS.from_user_input(code)
    metres = crs.axis_info[0].unit_conversion_factor * (6.4e6 if crs.is_geographic else 1.0)
    return float(polygon.bounds[2] - polygon.bounds[0]) * metres


FIGURES = {
    "Web Mercator at 45 degrees": ("EPSG:3857", box(1e6, 5_621_521, 1e6 + 30, 5_621_521 + 30)),
    "Web Mercator, 40 degrees high": ("EPSG:3857", box(1e6, 3e6, 6e6, 9e6)),
    "30 degrees wide": ("EPSG:4326", box(10, 40, 40, 70)),
    "a diagonal of 30 degrees": ("EPSG:4326", Polygon([(10, 40), (40, 45), (30, 70)])),
    "across 180 degrees": ("EPSG:4326", box(175, -20, 195, -10)),
    "a metre in degrees": ("EPSG:4326", box(10, 60, 10.00001, 60.00001)),
    "grads from Paris": ("EPSG:4807", box(1, 50, 1.01, 50.01)),
    "many grads from Paris": ("EPSG:4807", box(1, 50, 9, 57)),
    "US survey feet": ("EPSG:2263", box(980_000, 180_000, 980_300, 180_300)),
    "feet": ("EPSG:2222", box(700_000, 900_000, 900_000, 1_000_000)),
    "UTM": ("EPSG:32633", box(200_000, 5e6, 200_001, 5e6 + 1)),
    "UTM, 600 km": ("EPSG:32633", box(200_000, 5e6, 800_000, 6.6e6)),
    "equal area, 5 cm": ("EPSG:3035", box(4e6, 3e6, 4e6 + 0.05, 3e6 + 0.05)),
    "with a hole": ("EPSG:2193", Point(1.6e6, 5.4e6).buffer(3e5).difference(Point(1.6e6, 5.4e6).buffer(1e5))),
    "round the north pole": ("EPSG:3413", box(-1e6, -9e5, 1.2e6, 1.1e6)),
    "round the south pole": ("EPSG:3031", box(-2e6, -1e6, 2e6, 1e6)),
    "Pacific Mercator": ("EPSG:3832", box(-3e6, -3e6, 3e6, 3e6)),
    "Mollweide": ("ESRI:54009", box(-2e6, 1e6, 5e6, 6e6)),
    "south-orientated": ("EPSG:2053", box(-30_000, 2_850_000, 20_000, 2_900_000)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_areas_and_perimeters_are_those_of_the_ellipsoid(name: str) -> None:
    code, polygon = FIGURES[name]
    areas, perimeters = ground(code).measured(np.array([polygon, polygon], dtype=np.object_))
    # a geodesic of micrometres is all rounding: small figures are judged by larger ones in the same place
    larger = 1.0 if size(code, polygon) > 50 else 100 / size(code, polygon)
    area, perimeter = judged(code, shapely.affinity.scale(polygon, larger, larger))
    area, perimeter = area / larger**2, perimeter / larger
    assert areas.tolist() == pytest.approx([area, area], rel=3e-5)
    assert perimeters.tolist() == pytest.approx([perimeter, perimeter], rel=3e-5)


def test_small_and_large_figures_are_measured_in_two_ways_that_agree() -> None:
    small, large = box(5e5, 5e6, 5e5 + 9_900, 5e6 + 9_900), box(5e5, 5e6, 5e5 + 10_100, 5e6 + 10_100)
    areas, _ = ground("EPSG:32633").measured(np.array([small, large], dtype=np.object_))
    assert areas[0] / small.area == pytest.approx(areas[1] / large.area, rel=1e-6)


def test_exact_counts_stay_exact_up_to_the_scale() -> None:
    """Ten features of one pixel each, side by side, are one of ten."""
    one, ten = box(3e5, 5e6, 3e5 + 0.1, 5e6 + 0.1), box(3e5, 5e6, 3e5 + 1, 5e6 + 0.1)
    areas, _ = ground("EPSG:32633").measured(
        np.array([one, ten], dtype=np.object_), np.array([0.1 * 0.1, 10 * 0.1 * 0.1])
    )
    assert areas[1] == pytest.approx(10 * areas[0], rel=1e-7)


def test_what_is_no_place_on_earth_has_no_area() -> None:
    for code, polygon in (
        ("EPSG:4326", box(0, 89, 5, 100)),
        ("EPSG:3035", box(1e9, 1e9, 1e9 + 10, 1e9 + 10)),
    ):
        areas, perimeters = ground(code).measured(np.array([polygon], dtype=np.object_))
        assert np.isnan(areas).all()
        assert np.isnan(perimeters).all()


def test_a_local_grid_has_no_ground() -> None:
    local = 'ENGCRS["site",EDATUM["benchmark"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    assert ground_of(GeoRef((1.0, 0.0, 0.0, 0.0, -1.0, 0.0), local)) is None
    assert ground_of(GeoRef.of_pixels()) is None


def test_a_projection_that_proj_does_not_know_has_no_ground() -> None:
    """Found by `make fuzz`: GDAL takes such a CRS as it is, and PROJ reads it, but cannot convert it."""
    wkt = CRS.from_epsg(32633).to_wkt("WKT1_GDAL").replace("Transverse_Mercator", "Transverse_Mer-1tor")
    assert CRS.from_wkt(wkt).is_projected
    assert ground_of(GeoRef((10.0, 0.0, 500000.0, 0.0, -10.0, 5600000.0), wkt)) is None


def test_pixels_of_a_globe_add_up_to_the_ellipsoid() -> None:
    wkt = CRS.from_epsg(4326).to_wkt("WKT2_2019")
    georef = GeoRef((10.0, 0.0, -180.0, 0.0, -10.0, 90.0), wkt)
    rows = [Window(row, 0, 1, 36) for row in range(18)]
    total = 36 * ground("EPSG:4326").pixel_areas(georef, rows).sum()
    assert total == pytest.approx(510_065_621_724_089, rel=1e-9), "WGS 84, in square metres"
