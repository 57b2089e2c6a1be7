"""AOI: what is inside, in which CRS, and what is refused."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from pyproj import CRS
from shapely.geometry import LineString, Point, Polygon, box

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.area_of_interest import read_area_of_interest

UTM = CRS.from_epsg(32633)
GEOREF = GeoRef((10.0, 0.0, 500000.0, 0.0, -10.0, 5600000.0), UTM.to_wkt())
RASTER = Window(0, 0, 50, 60)


def write(path: Path, *shapes: object, crs: object = UTM) -> Path:
    gpd.GeoDataFrame(geometry=list(shapes), crs=crs).to_file(path)
    return path


def pixels(row: int, column: int, row_stop: int, column_stop: int) -> Polygon:
    return box(500000 + 10 * column, 5600000 - 10 * row_stop, 500000 + 10 * column_stop, 5600000 - 10 * row)


def test_mask_of_a_window(tmp_path: Path) -> None:
    area = read_area_of_interest(
        write(tmp_path / "a.gpkg", pixels(5, 5, 20, 30), pixels(40, 50, 45, 60)), GEOREF, RASTER
    )
    expected = np.zeros(RASTER.shape, dtype=bool)
    expected[5:20, 5:30] = True
    expected[40:45, 50:60] = True
    np.testing.assert_array_equal(area.mask(RASTER), expected)
    window = Window(10, 20, 35, 35)
    np.testing.assert_array_equal(area.mask(window), expected[window.slices()])
    assert area.meets(Window(0, 0, 10, 10))
    assert not area.meets(Window(25, 0, 10, 40))


def test_lines_and_points_beside_polygons_are_told_of(tmp_path: Path) -> None:
    line = LineString([(500000, 5600000), (500100, 5599900)])
    path = write(tmp_path / "a.geojson", pixels(5, 5, 20, 30), line, Point(500000, 5600000))
    area = read_area_of_interest(path, GEOREF, RASTER)
    (note,) = area.notes
    assert "a.geojson: 2 lines or points enclose nothing and are left out" in note
    assert read_area_of_interest(write(tmp_path / "b.gpkg", pixels(5, 5, 20, 30)), GEOREF, RASTER).notes == ()


def test_a_polygon_of_qupath_that_reaches_above_the_picture_is_not_mirrored(tmp_path: Path) -> None:
    shape = box(5, -40, 30, 20)
    frame = gpd.GeoDataFrame({"objectType": ["annotation"]}, geometry=[shape], crs=4326)
    frame.to_file(tmp_path / "a.geojson")
    area = read_area_of_interest(tmp_path / "a.geojson", GeoRef.of_pixels(), RASTER)
    expected = np.zeros(RASTER.shape, dtype=bool)
    expected[:20, 5:30] = True
    np.testing.assert_array_equal(area.mask(RASTER), expected)
    assert area.notes == ()
    drawn = read_area_of_interest(write(tmp_path / "b.geojson", shape, crs=4326), GeoRef.of_pixels(), RASTER)
    (note,) = drawn.notes
    assert "above and below the top edge of the picture; they are taken for coordinates of results" in note


def test_another_crs_is_reprojected(tmp_path: Path) -> None:
    shape = gpd.GeoSeries([pixels(5, 5, 20, 30)], crs=UTM).to_crs(4326).iloc[0]
    area = read_area_of_interest(write(tmp_path / "a.geojson", shape, crs=4326), GEOREF, RASTER)
    mask = area.mask(RASTER)
    assert mask[6:19, 6:29].all()
    assert not mask[:4].any()


def test_a_crs_that_proj_cannot_convert_is_named(tmp_path: Path) -> None:
    wkt = UTM.to_wkt("WKT1_GDAL").replace("Transverse_Mercator", "Transverse_Mer-1tor")
    path = write(tmp_path / "a.gpkg", pixels(5, 5, 20, 30))
    with pytest.raises(
        UsageError, match="cannot be brought from WGS 84 / UTM zone 33N into the CRS of the raster"
    ):
        read_area_of_interest(path, GeoRef(GEOREF.transform, wkt), RASTER)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="outside the raster"):
        read_area_of_interest(write(tmp_path / "far.gpkg", box(0, 0, 1, 1)), GEOREF, RASTER)
    with pytest.raises(UsageError, match="holds no polygon"):
        read_area_of_interest(
            write(tmp_path / "line.gpkg", LineString([(500000, 5600000), (500100, 5599900)])), GEOREF, RASTER
        )
    (tmp_path / "text.gpkg").write_text("nothing")
    with pytest.raises(UsageError, match="cannot be read as a vector file"):
        read_area_of_interest(tmp_path / "text.gpkg", GEOREF, RASTER)
    with pytest.raises(UsageError, match="the raster has no CRS"):
        read_area_of_interest(write(tmp_path / "a.gpkg", pixels(0, 0, 5, 5)), GeoRef.of_pixels(), RASTER)


def test_self_crossing_polygons_are_repaired(tmp_path: Path) -> None:
    bow = Polygon([(500000, 5600000), (500200, 5599800), (500200, 5600000), (500000, 5599800)])
    area = read_area_of_interest(write(tmp_path / "bow.gpkg", bow), GEOREF, RASTER)
    assert 150 < area.mask(RASTER).sum() < 250
