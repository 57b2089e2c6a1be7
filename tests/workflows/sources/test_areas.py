"""Areas in report and polygons: those on the ellipsoid, the same in both, and planar ones beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from pyproj import CRS, Transformer

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.scenes.rasters.areas import area_unit, class_areas, planar_areas

HEIGHT, WIDTH = 600, 90  # two shards high
CODES = np.full((HEIGHT, WIDTH), 255, np.uint8)
CODES[30:, 5:60] = 0
CODES[:200, 10:40] = 1  # where a pixel is smallest or largest
CODES[350:580, 30:80] = 2
GRIDS = {
    "degrees, 30 high": ("EPSG:4326", (0.05, 0, 11.0, 0, -0.05, 75.0)),
    "grads from Paris": ("EPSG:4807", (0.01, 0, 1.0, 0, -0.01, 58.0)),
    "Web Mercator at 45 degrees": ("EPSG:3857", (30.0, 0, 1e6, 0, -30.0, 5_621_521.0)),
    "Web Mercator, 40 degrees high": ("EPSG:3857", (1e4, 0, 1e6, 0, -1e4, 9e6)),
    "UTM": ("EPSG:32633", (0.5, 0, 3e5, 0, -0.5, 5e6)),
    "UTM, turned": ("EPSG:32633", (0.3, 0.4, 3e5, 0.4, -0.3, 5e6)),
    "US survey feet": ("EPSG:2263", (10.0, 0, 9e5, 0, -10.0, 2e5)),
    "stereographic": ("EPSG:3413", (5000.0, 0, 0.0, 0, -5000.0, 1.5e6)),
}


def shards_of(codes: np.ndarray) -> dict[tuple[int, int], tuple[int, ...]]:
    """Count as the ledger does."""
    rows, side = shard_shape(codes.shape[1])
    found = {}
    for row in range(-(-codes.shape[0] // rows)):
        for column in range(-(-codes.shape[1] // side)):
            part = codes[row * rows : (row + 1) * rows, column * side : (column + 1) * side]
            found[row, column] = tuple(int((part == code).sum()) for code in (0, 1, 2, 255))
    return found


def judged(code: str, transform: Affine) -> list[float]:
    """Add up the pixels, each measured by Karney's geodesics between points along its edges."""
    crs = CRS.from_user_input(code)
    base = crs.geodetic_crs
    assert base is not None
    geod, degrees = base.get_geod(), np.degrees(base.axis_info[0].unit_conversion_factor)
    assert geod is not None
    to_base = Transformer.from_crs(crs, base, always_xy=True)
    step = 10  # pixels of a cell; the edges of what is drawn lie between cells
    areas = dict.fromkeys((0, 1, 2, 255), 0.0)
    t = np.linspace(0, step, 6)[:-1]
    edges = [(t, 0 * t), (step + 0 * t, t), (step - t, step + 0 * t), (0 * t, step - t)]
    outline = np.concatenate([np.column_stack(edge) for edge in edges])
    for row in range(0, HEIGHT, step):
        for column in range(0, WIDTH, step):
            x, y = transform @ (column + outline[:, 0], row + outline[:, 1])
            longitude, latitude = to_base.transform(x, y)
            area = abs(geod.polygon_area_perimeter(longitude * degrees, latitude * degrees)[0]) / step**2
            found, counts = np.unique(CODES[row : row + step, column : column + step], return_counts=True)
            for value, count in zip(found, counts, strict=True):
                areas[int(value)] += area * count
    return list(areas.values())


@pytest.mark.parametrize("name", GRIDS)
def test_report_and_polygons_agree_with_geodesics_to_a_thousandth(name: str, tmp_path: Path) -> None:
    crs, transform = GRIDS[name][0], Affine(*GRIDS[name][1])
    wkt = CRS.from_user_input(crs).to_wkt("WKT2_2019")
    georef = GeoRef(tuple(transform)[:6], wkt)
    expected = judged(crs, transform)

    def read(window: Window) -> np.ndarray:
        return CODES[window.slices()]

    shards = shards_of(CODES)
    assert len(shards) == 2
    found = class_areas(shards, CODES.shape, georef, read)
    assert area_unit(georef) == "m2"
    assert found[:3] == pytest.approx(expected[:3], rel=1e-3)
    path = tmp_path / "classes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=HEIGHT, width=WIDTH, dtype="uint8", crs=wkt,
        transform=transform, nodata=255,
    ) as dataset:  # fmt: skip
        dataset.write(CODES, 1)
    report = polygonize(path, [tmp_path / "p.parquet"])
    assert [entry.area for entry in report.classes] == pytest.approx(expected[:3], rel=1e-3)
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    counts = [int((code == CODES).sum()) for code in (0, 1, 2, 255)]
    planar = planar_areas(counts, georef)
    if CRS.from_wkt(wkt).is_geographic:
        assert planar is None
        assert "area_planar_m2" not in table
        return
    assert planar is not None
    by_class = [
        sum(a for a, c in zip(table["area_planar_m2"], table["class_code"], strict=True) if c == code)
        for code in range(3)
    ]
    assert by_class == pytest.approx(planar[:3], rel=1e-12)
    unit = CRS.from_wkt(wkt).axis_info[0].unit_conversion_factor
    assert planar == pytest.approx([n * georef.pixel_area * unit**2 for n in counts], rel=1e-12)


RUNS = {
    "Web Mercator at 45 degrees": ("EPSG:3857", (10.0, 0, 1e6, 0, -10.0, 5_621_521.0)),
    "30 degrees wide": ("EPSG:4326", (0.25, 0, 10.0, 0, -0.25, 62.5)),
    "grads from Paris": ("EPSG:4807", (0.01, 0, 1.0, 0, -0.01, 55.0)),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_and_its_polygons_have_the_area_of_the_ellipsoid(
    name: str, tmp_path: Path, small_model: Path
) -> None:
    """One polygon, as large as the raster, measured by geodesics between many points along its edge."""
    crs, transform = CRS.from_user_input(RUNS[name][0]), Affine(*RUNS[name][1])
    path, out = tmp_path / "scene.tif", tmp_path / "out"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=90, width=120, dtype="uint8", crs=crs.to_wkt("WKT2_2019"),
        transform=transform,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((3, 90, 120), 90, np.uint8))
    words = ["run", str(path), "--model", str(small_model), "--out", str(out), "--format", "zarr,parquet"]
    words += ["--precision", "fp32", "--device", "cpu", "--backend", "torch", "--quiet"]
    assert run_command_line(words) == 0
    base = crs.geodetic_crs
    assert base is not None
    geod, degrees = base.get_geod(), np.degrees(base.axis_info[0].unit_conversion_factor)
    assert geod is not None
    t = np.linspace(0, 1, 2000)
    columns = np.concatenate([120 * t, 0 * t + 120, 120 - 120 * t, 0 * t])
    rows = np.concatenate([0 * t, 90 * t, 0 * t + 90, 90 - 90 * t])
    to_base = Transformer.from_crs(crs, base, always_xy=True)
    longitude, latitude = to_base.transform(*(transform @ (columns, rows)))
    expected = abs(geod.polygon_area_perimeter(longitude * degrees, latitude * degrees)[0])
    report = json.loads((out / "report.json").read_text())
    assert report["area_unit"] == "m2"
    table = pq.read_table(out / "polygons.parquet").to_pydict()
    by_code = {
        entry["code"]: sum(
            a for a, c in zip(table["area_m2"], table["class_code"], strict=True) if c == entry["code"]
        )
        for entry in report["classes"]
    }
    assert sum(entry["area"] for entry in report["classes"]) == pytest.approx(expected, rel=1e-3)
    assert sum(by_code.values()) == pytest.approx(expected, rel=1e-3)
    assert [entry["area"] for entry in report["classes"]] == pytest.approx(list(by_code.values()), rel=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_one_polygon_has_the_length_of_the_ellipsoid_and_a_planar_area_beside_it(
    name: str, tmp_path: Path
) -> None:
    crs, transform = CRS.from_user_input(GRIDS[name][0]), Affine(*GRIDS[name][1])
    with rasterio.open(
        tmp_path / "one.tif", "w", driver="GTiff", count=1, height=HEIGHT, width=WIDTH, dtype="uint8",
        crs=crs.to_wkt("WKT2_2019"), transform=transform,
    ) as dataset:  # fmt: skip
        dataset.write(np.zeros((HEIGHT, WIDTH), np.uint8), 1)
    polygonize(tmp_path / "one.tif", [tmp_path / "p.parquet"])
    (feature,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    base = crs.geodetic_crs
    assert base is not None
    geod, degrees = base.get_geod(), np.degrees(base.axis_info[0].unit_conversion_factor)
    assert geod is not None
    t = np.linspace(0, 1, 4000)
    columns = WIDTH * np.concatenate([t, 0 * t + 1, 1 - t, 0 * t])
    rows = HEIGHT * np.concatenate([0 * t, t, 0 * t + 1, 1 - t])
    longitude, latitude = Transformer.from_crs(crs, base, always_xy=True).transform(
        *(transform @ (columns, rows))
    )
    area, length = geod.polygon_area_perimeter(longitude * degrees, latitude * degrees)
    assert feature["area_m2"] == pytest.approx(abs(area), rel=1e-3)
    assert feature["perimeter_m"] == pytest.approx(length, rel=1e-3)
    if not crs.is_geographic:
        unit = crs.axis_info[0].unit_conversion_factor
        planar = HEIGHT * WIDTH * abs(transform.determinant) * unit**2
        assert feature.get("area_planar_m2") == pytest.approx(planar, rel=1e-9)


def test_codes_are_read_again_only_where_pixels_differ() -> None:
    wkt = CRS.from_epsg(32633).to_wkt("WKT2_2019")

    def read(window: Window) -> np.ndarray:
        raise AssertionError(window)

    georef = GeoRef((0.5, 0.0, 3e5, 0.0, -0.5, 5e6), wkt)
    assert len(class_areas(shards_of(CODES), CODES.shape, georef, read)) == 4


def test_pixels_beside_the_earth_have_an_unknown_area() -> None:
    """The corners of a picture of the whole Earth are sky; the classes on the Earth are measured all the same."""
    wkt = CRS.from_user_input("EPSG:8857").to_wkt("WKT2_2019")
    georef = GeoRef((4e5, 0.0, -18e6, 0.0, -4e5, 9e6), wkt)
    codes = np.full((45, 90), 255, np.uint8)
    codes[20:25, 20:70] = 0
    codes[0, 0] = 1
    areas = class_areas(shards_of(codes), codes.shape, georef, lambda window: codes[window.slices()])
    assert areas[0] == pytest.approx(250 * 4e5**2, rel=2e-3), "the projection is of equal area"
    assert not areas[1] > 0


def test_areas_of_a_raster_without_crs_are_in_its_own_units() -> None:
    shards = {(0, 0): (10, 2)}

    def read(window: Window) -> np.ndarray:
        raise AssertionError(window)

    assert class_areas(shards, (4, 3), GeoRef.of_pixels(), read) == [10, 2]
    placed = GeoRef((2.0, 0.0, 7.0, 0.0, -2.0, 9.0), unit="map unit")
    assert area_unit(placed) == "square map units"
    assert class_areas(shards, (4, 3), placed, read) == [40, 8]
