"""Without a CRS, rasters and polygons lie over one another, and over their source, in GDAL and QGIS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.pipeline.sources.areas.area_of_interest import read_area_of_interest
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.scenes.rasters.opening import roi_window

HEIGHT, WIDTH = 40, 60
SLIDE = GeoRef(
    (1.0, 0.0, 30.0, 0.0, -1.0, -8.0), unit="micrometer", full_resolution=(0.25, 0.0, 30.0, 0.0, -0.25, -8.0)
)
PLACES = {
    "picture": GeoRef.of_pixels(),
    "part of a picture": GeoRef.of_pixels().of_window(Window(7, 3, HEIGHT, WIDTH)),
    "level of a picture": GeoRef.of_pixels().scaled(2.0, 2.0),
    "slide": SLIDE,
}
FIRST_PIXEL = {"picture": (0, 0), "part of a picture": (3, 7), "level of a picture": (0, 0), "slide": (0, 0)}
"""Column and row of the source at full resolution."""
SIZE = {"picture": 1, "part of a picture": 1, "level of a picture": 2, "slide": 4}
"""Full-resolution pixels along a pixel."""


def codes() -> NDArray[np.uint8]:
    """Return a map that is neither its mirror image nor itself upside down."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[3:9, 5:20] = 1
    values[30:38, 40:44] = 2
    return values


def read(path: Path) -> geopandas.GeoDataFrame:
    """Read a file of polygons with the library of its format."""
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pyogrio.read_dataframe(path, layer="p" if path.suffix == ".gpkg" else None)


def drawn_at(path: Path) -> Affine:
    """Return where QGIS draws a raster: one without a transform from 0 down to minus its height."""
    with rasterio.open(path) as dataset:
        assert dataset.crs is None
        return Affine(1, 0, 0, 0, -1, 0) if dataset.transform.is_identity else dataset.transform


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", PLACES)
def test_polygons_of_every_format_lie_over_the_class_map(name: str, tmp_path: Path) -> None:
    table = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(3)))
    store = open_store(create_store(tmp_path / "classes.zarr", (HEIGHT, WIDTH), PLACES[name], table), "r+")
    array_of(store, "classes")[:] = codes()
    write_cog(store, tmp_path / "classes.tif")
    place = drawn_at(tmp_path / "classes.tif")
    files = [
        tmp_path / f"p.{ending}"
        for ending in ("parquet", "gpkg", "fgb", "geojson", "geojsonl", "qupath.geojson")
    ]
    polygonize(tmp_path / "classes.zarr", files)
    for path in files[:-1]:
        frame = read(path)
        shapes = zip(frame.geometry, frame["class_code"], strict=True)
        drawn = rasterize(shapes, out_shape=(HEIGHT, WIDTH), fill=99, transform=place, dtype="uint8")
        np.testing.assert_array_equal(drawn, codes(), err_msg=path.name)
    features = json.loads(files[-1].read_text())["features"]
    square = next(f for f in features if f["properties"]["classification"]["name"] == "class 1")
    (column, row), size = FIRST_PIXEL[name], SIZE[name]
    expected = (column + 5 * size, row + 3 * size, column + 20 * size, row + 9 * size)
    assert shapely.geometry.shape(square["geometry"]).bounds == expected, "pixels of the source, y down"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_polygons_of_a_foreign_picture_lie_over_it(tmp_path: Path) -> None:
    path = tmp_path / "classes.png"
    with rasterio.open(
        path, "w", driver="PNG", count=1, height=HEIGHT, width=WIDTH, dtype="uint8"
    ) as dataset:
        dataset.write(codes(), 1)
    polygonize(path, [tmp_path / "p.gpkg"])
    frame = read(tmp_path / "p.gpkg")
    assert tuple(frame.total_bounds) == (0, -HEIGHT, WIDTH, 0)
    square = frame[frame["class_code"] == 1].iloc[0]
    assert square.geometry.bounds == (5, -9, 20, -3)
    assert square["area_px2"] == 6 * 15


def test_a_transform_without_a_crs_is_in_map_units(tmp_path: Path) -> None:
    path = tmp_path / "local.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=HEIGHT, width=WIDTH, dtype="uint8",
        transform=Affine(0.5, 0, 1000, 0, -0.5, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(codes(), 1)
    source = RasterFile(str(path))
    assert source.spec.georef.unit == "map unit"
    source.close()
    report = polygonize(path, [tmp_path / "p.parquet"])
    assert report.unit == "map"
    assert "map unit" in report.notes[0]
    frame = read(tmp_path / "p.parquet")
    square = frame[frame["class_code"] == 1].iloc[0]
    assert (square["area_map2"], square["perimeter_map"]) == (6 * 15 * 0.25, 42 * 0.5)


def test_report_and_polygons_of_a_run_without_a_crs_are_in_map_units(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "local.tif", tmp_path / "out"
    values = np.random.default_rng(0).integers(0, 255, (3, 90, 120), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=90, width=120, dtype="uint8",
        transform=Affine(0.5, 0, 1000, 0, -0.5, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    words = ["run", str(path), "--model", str(small_model), "--out", str(out), "--format", "zarr,parquet"]
    assert run_command_line([*words, "--precision", "fp32", "--device", "cpu", "--backend", "torch"]) == 0
    printed = capsys.readouterr()
    assert "no CRS: coordinates are in map units" in printed.err
    assert "square map units" in printed.out
    report = json.loads((out / "report.json").read_text())
    assert report["area_unit"] == "square map units"
    polygons = read(out / "polygons.parquet").groupby("class_code")["area_map2"].sum()
    for entry in report["classes"]:
        assert entry["area"] == entry["pixels"] * 0.25 == polygons.get(entry["code"], 0)
    assert sum(entry["pixels"] for entry in report["classes"]) == 90 * 120


def test_a_run_of_a_slide_is_not_drawn_upside_down_and_misses_no_crs(
    tmp_path: Path,
    small_model: Path,
    write_as: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    slide = write_as("slide", np.random.default_rng(0).integers(0, 255, (3, 96, 120), dtype=np.uint8), 0.5)
    out = tmp_path / "out"
    words = ["run", str(slide), "--model", str(small_model), "--out", str(out), "--format", "zarr,cog,gpkg"]
    words += ["--precision", "fp32", "--device", "cpu", "--backend", "torch", "--tissue", "off"]
    assert run_command_line(words) == 0
    assert "CRS" not in capsys.readouterr().err
    with rasterio.open(out / "classes.tif") as dataset:
        assert dataset.transform.e < 0, "the second row lies below the first"
        mapped, place = dataset.read(1), dataset.transform
    frame = pyogrio.read_dataframe(out / "polygons.gpkg", layer="polygons")
    shapes = zip(frame.geometry, frame["class_code"], strict=True)
    drawn = rasterize(shapes, out_shape=mapped.shape, fill=99, transform=place, dtype="uint8")
    np.testing.assert_array_equal(drawn, mapped)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_overview_of_a_picture_has_larger_pixels(tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=600, width=800, dtype="uint8", tiled=True
    ) as dataset:
        dataset.write(np.ones((1, 600, 800), np.uint8))
        dataset.build_overviews([2])
    source = RasterFile(str(path), level=1)
    assert source.spec.georef == GeoRef.of_pixels().scaled(2.0, 2.0)
    source.close()


def spec(name: str) -> RasterSpec:
    return RasterSpec(3, HEIGHT, WIDTH, "uint8", PLACES[name])


@pytest.mark.parametrize("name", ["picture", "slide"])
def test_boxes_and_areas_are_pixels_or_what_qgis_draws(name: str, tmp_path: Path) -> None:
    size = SIZE[name]
    pixels = (5.0 * size, 3.0 * size, 20.0 * size, 9.0 * size)
    corners = [PLACES[name].affine @ corner for corner in ((5, 9), (20, 3))]
    world = (*corners[0], *corners[1])
    assert world[1] < 0
    assert roi_window(pixels, spec(name)) == roi_window(world, spec(name)) == Window(3, 5, 6, 15)
    masks = []
    for number, bounds in enumerate((pixels, world)):
        path = tmp_path / f"{number}.geojson"
        ring = shapely.geometry.mapping(shapely.box(*bounds))
        path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": ring}))
        area = read_area_of_interest(path, PLACES[name], Window(0, 0, HEIGHT, WIDTH))
        masks.append(area.mask(Window(0, 0, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(masks[0], codes() == 1)
    np.testing.assert_array_equal(masks[1], codes() == 1)
