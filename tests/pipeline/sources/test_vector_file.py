"""Vector files with one layer, several, or none; FILE:LAYER; what identifies them."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path

import geopandas as gpd
import pyarrow
import pyarrow.parquet
import pyproj
import pytest
from shapely.geometry import Point, box

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import TrainingError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.labels import open_labels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.sources.areas.area_of_interest import read_area_of_interest
from segment_tiles.pipeline.sources.areas.vector_file import content_checksum, read_polygon_layer, split_layer


def write(path: Path, **layers: object) -> Path:
    for name, geometry in layers.items():
        gpd.GeoDataFrame({"kind": ["a"]}, geometry=[geometry], crs=32633).to_file(path, layer=name)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write(tmp_path / "two.gpkg", fields=box(0, 0, 5, 5), roads=box(50, 50, 60, 60))


def test_a_layer_is_named_where_there_are_several(two: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_polygon_layer(f"{two}:roads", "--aoi").total_bounds.tolist() == [50, 50, 60, 60]
        with pytest.raises(
            UsageError, match=r"two\.gpkg has several layers; name one as .*:fields, of fields, roads"
        ):
            read_polygon_layer(two, "--aoi")
        with pytest.raises(UsageError, match=r"no layer 'fiels'; it has fields, roads"):
            read_polygon_layer(f"{two}:fiels", "--aoi")


def test_the_only_layer_with_polygons_needs_no_name(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.gpkg", wells=Point(1, 1), fields=box(0, 0, 5, 5))
    assert read_polygon_layer(path, "--aoi").geom_type.tolist() == ["Polygon"]
    points = write(tmp_path / "points.gpkg", wells=Point(1, 1))
    with pytest.raises(UsageError, match=r"holds no polygon; its layers are wells \(Point\)"):
        read_polygon_layer(points, "--aoi")


def test_geoparquet_is_read_and_has_no_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    gpd.GeoDataFrame(geometry=[box(0, 0, 5, 5)], crs=32633).to_parquet(path)
    assert len(read_polygon_layer(path, "--aoi")) == 1
    with pytest.raises(UsageError, match="GeoParquet has no layers; leave :a out"):
        read_polygon_layer(f"{path}:a", "--aoi")


def test_names_with_colons(tmp_path: Path) -> None:
    odd = write(tmp_path / "a:b.gpkg", fields=box(0, 0, 5, 5))
    assert split_layer(odd) == (odd, None)
    assert split_layer(f"{odd}:fields") == (odd, "fields")
    assert split_layer(f"{odd}:x:y") == (odd, "x:y")
    assert split_layer("C:/no/such.gpkg") == (Path("C:/no/such.gpkg"), None)


def test_what_is_read_is_what_identifies_it(tmp_path: Path, two: Path) -> None:
    sums = {content_checksum(name) for name in (two, f"{two}:fields", f"{two}:roads")}
    assert len(sums) == 3
    shape = write(tmp_path / "s.shp", s=box(0, 0, 5, 5))
    before = content_checksum(shape)
    shape.with_suffix(".prj").unlink()
    assert content_checksum(shape) != before
    assert content_checksum(tmp_path)  # a folder, as a file geodatabase is


def test_labels_and_truth(two: Path) -> None:
    spec = RasterSpec(
        1,
        60,
        60,
        "uint8",
        GeoRef((1.0, 0.0, 0.0, 0.0, -1.0, 60.0), gpd.read_file(two, layer="roads").crs.to_wkt()),
    )
    scene = SceneSettings(
        name="s", raster="r.tif", labels=f"{two}:fields", class_values={"a": "x"}, class_column="kind"
    )
    labels = open_labels(scene, f"{two}:fields", spec, ["x"])
    assert (labels.read(spec.window) == 0).sum() == 25
    with pytest.raises(TrainingError, match="several layers"):
        open_labels(scene, str(two), spec, ["x"])


def test_an_aoi_with_two_layers_is_refused_in_one_line(
    two: Path, aerial_crop: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", str(aerial_crop), "--model", str(small_model), "--aoi"]
    assert run_command_line([*words, str(two)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"--aoi {two}: {two} has several layers; name one as {two}:fields" in lines[0]
    assert run_command_line([*words, f"{two}:nothing"]) == 2
    assert run_command_line([*words, f"{tmp_path}/nowhere.gpkg:fields"]) == 2
    assert "no such file" in capfd.readouterr().err


GEOREF = GeoRef((1.0, 0.0, 0.0, 0.0, -1.0, 10.0), pyproj.CRS(32633).to_wkt())


def damaged_ring(path: Path, ring: list[list[float]]) -> Path:
    """Write a file in which one polygon has this outer ring, as no program of ours would write it."""
    if path.suffix == ".geojson":
        polygon = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "properties": {"kind": "a"}, "geometry": polygon}
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        return path
    gpd.GeoDataFrame({"kind": ["a"]}, geometry=[box(0, 0, 5, 5)], crs=32633).to_parquet(path)
    table = pyarrow.parquet.read_table(path)
    wkb = struct.pack("<BIII", 1, 3, 1, len(ring)) + b"".join(struct.pack("<dd", *point) for point in ring)
    column = table.schema.get_field_index("geometry")
    pyarrow.parquet.write_table(
        table.set_column(column, table.schema.field(column), pyarrow.array([wkb], pyarrow.binary())), path
    )
    return path


@pytest.mark.parametrize("name", ["a.geojson", "a.parquet"])
@pytest.mark.parametrize(
    ("ring", "text"),
    [
        (
            [[0, 0], [5, 0], [5, 5], [0, 5]],
            "cannot be read .*do not form a closed linestring.*Fix geometries",
        ),
        ([[0, 0]], "cannot be read .*must contain 0 or >1 elements"),
        (
            [[0, 0], [5, float("nan")], [5, 5], [0, 0]],
            "number 1, with the coordinates 5.0, nan; finite numbers",
        ),
        (
            [[0, 0], [float("inf"), 0], [5, 5], [0, 0]],
            "number 1, with the coordinates inf, 0.0; finite numbers",
        ),
    ],
)
def test_a_ring_that_is_none_is_refused_as_aoi_and_as_truth(
    tmp_path: Path, name: str, ring: list[list[float]], text: str
) -> None:
    path = damaged_ring(tmp_path / name, ring)
    with pytest.raises(UsageError, match=text):
        read_area_of_interest(path, GEOREF, Window(0, 0, 10, 10))
    scene = SceneSettings(name="s", raster="s.tif", labels=str(path), class_column="kind")
    spec = RasterSpec(1, 10, 10, "uint8", GEOREF)
    with pytest.raises(TrainingError, match=text):
        open_labels(scene, str(path), spec, ["a"])


def test_an_empty_polygon_and_a_place_beyond_the_crs_are_refused(tmp_path: Path) -> None:
    empty = damaged_ring(tmp_path / "a.geojson", [])
    with pytest.raises(UsageError, match="holds no polygon"):
        read_area_of_interest(empty, GEOREF, Window(0, 0, 10, 10))
    beyond = damaged_ring(tmp_path / "b.geojson", [[0, 0], [500, 99], [5, 95], [0, 0]])
    with pytest.raises(UsageError, match=r"in the CRS of the raster, it has a geometry, number 1, .*inf"):
        read_area_of_interest(beyond, GEOREF, Window(0, 0, 10, 10))


@pytest.mark.parametrize("name", ["a.geojson", "a.parquet", "a.gpkg"])
def test_bytes_that_are_no_vector_file_are_refused(tmp_path: Path, name: str) -> None:
    whole = gpd.GeoDataFrame({"kind": ["a"]}, geometry=[box(0, 0, 5, 5)], crs=32633)
    path = tmp_path / name
    whole.to_parquet(path) if name.endswith("parquet") else whole.to_file(path)
    data = path.read_bytes()
    for damaged in (b"", data[: len(data) // 2], bytes(len(data)), data[:40] + b"\xff" * 40 + data[80:]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError):
            read_polygon_layer(path, "--aoi")
