"""Every file is read back by somebody else, with equal counts, areas and CRS."""

import json
import sqlite3
import uuid
from xml.etree import ElementTree

import duckdb
import geopandas
import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

GEOPARQUET_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["version", "primary_column", "columns"],
    "properties": {
        "version": {"const": "1.1.0"},
        "primary_column": {"type": "string", "minLength": 1},
        "columns": {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "required": ["encoding", "geometry_types"],
                    "properties": {
                        "encoding": {"enum": ["WKB", "polygon", "multipolygon"]},
                        "geometry_types": {
                            "type": "array",
                            "uniqueItems": True,
                            "items": {"pattern": "^(GeometryCollection|(Multi)?(Point|LineString|Polygon))( Z)?$"},
                        },
                        "crs": {"oneOf": [{"type": "object", "required": ["type", "name"]}, {"type": "null"}]},
                        "edges": {"enum": ["planar", "spherical"]},
                        "orientation": {"const": "counterclockwise"},
                        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
                        "epoch": {"type": "number"},
                        "covering": {
                            "type": "object",
                            "required": ["bbox"],
                            "properties": {
                                "bbox": {
                                    "type": "object",
                                    "required": ["xmin", "xmax", "ymin", "ymax"],
                                    "properties": {
                                        side: {
                                            "type": "array",
                                            "items": [{"type": "string"}, {"const": side}],
                                            "minItems": 2,
                                            "maxItems": 2,
                                        }
                                        for side in ("xmin", "xmax", "ymin", "ymax")
                                    },
                                }
                            },
                        },
                    },
                }
            },
        },
    },
}  # fmt: skip
"""The rules of the schema of GeoParquet 1.1.0 (opengeospatial/geoparquet, format-specs/schema.json)."""

ENDINGS = ("parquet", "gpkg", "fgb", "geojson", "geojsonl", "qupath.geojson", "pmtiles")


@pytest.fixture(scope="module")
def files(tmp_path_factory, class_raster, land_cover):
    folder = tmp_path_factory.mktemp("files")
    raster = class_raster(folder / "classes.tif", land_cover)
    out = [folder / f"polygons.{ending}" for ending in ENDINGS]
    report = polygonize(raster, out, PolygonizeOptions(vector_tile=100))
    return folder, report


@pytest.fixture(scope="module")
def expected(files):
    """The features as GeoPandas reads them from GeoParquet, indexed by id."""
    return geopandas.read_parquet(files[0] / "polygons.parquet").set_index("id")


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_report_counts_what_was_written(files, expected, land_cover):
    _, report = files
    assert report.features == len(expected)
    assert {c.code: c.pixels for c in report.classes} == {
        int(code): int((land_cover == code).sum()) for code in np.unique(land_cover) if code != 9
    }
    assert all(c.area == pytest.approx(c.pixels * 0.25, rel=3e-3) for c in report.classes)
    assert report.unit == "m"
    converted = [note.split(":")[0] for note in report.notes]
    assert converted == [f"polygons.{e}" for e in ("geojson", "geojsonl", "qupath.geojson", "pmtiles")]
    assert sorted(path.name for path in files[0].iterdir()) == sorted(
        ["classes.tif", "polygons.qml", *(f"polygons.{ending}" for ending in ENDINGS)]
    )


def test_geoparquet_metadata_follows_the_schema(files, expected):
    metadata = pq.read_metadata(files[0] / "polygons.parquet")
    geo = strict_json(metadata.metadata[b"geo"])
    jsonschema.validate(geo, GEOPARQUET_SCHEMA)
    column = geo["columns"]["geometry"]
    assert CRS.from_json_dict(column["crs"]) == CRS.from_epsg(32612)
    assert column["bbox"] == list(expected.total_bounds)
    assert column["geometry_types"] == ["Polygon"]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert shapely.is_ccw(shapely.get_exterior_ring(expected.geometry.to_numpy())).all()


def test_geoparquet_boxes_and_order(files, expected):
    table = pq.read_table(files[0] / "polygons.parquet")
    boxes = np.array([[b["xmin"], b["ymin"], b["xmax"], b["ymax"]] for b in table["bbox"].to_pylist()])
    assert (boxes == shapely.bounds(expected.geometry.to_numpy())).all()
    steps = np.hypot(*np.diff((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0).T)
    shuffled = np.random.default_rng(0).permutation(boxes)
    random_steps = np.hypot(*np.diff((shuffled[:, :2] + shuffled[:, 2:]) / 2, axis=0).T)
    assert steps.mean() < random_steps.mean() / 2
    minx, _, maxx, _ = expected.total_bounds
    west = (minx, expected.total_bounds[1], (minx + maxx) / 2, expected.total_bounds[3])
    part = geopandas.read_parquet(files[0] / "polygons.parquet", bbox=west)  # uses the covering column
    assert 0 < len(part) < len(expected)


def test_duckdb_reads_geoparquet(files, expected):
    with duckdb.connect() as database:
        rows = database.execute(
            "SELECT class_code, count(*), sum(pixels), sum(area_m2) FROM read_parquet(?) GROUP BY 1 ORDER BY 1",
            [str(files[0] / "polygons.parquet")],
        ).fetchall()
    by_class = expected.groupby("class_code")
    assert rows == [(c, len(g), g.pixels.sum(), pytest.approx(g.area_m2.sum())) for c, g in by_class]


@pytest.mark.parametrize("ending", ["gpkg", "fgb"])
def test_gdal_reads_equal_features_in_the_same_crs(files, expected, ending):
    path = files[0] / f"polygons.{ending}"
    frame = pyogrio.read_dataframe(path, layer="polygons").set_index("id")
    assert frame.crs == CRS.from_epsg(32612)
    assert set(frame.index) == set(expected.index)
    frame = frame.loc[expected.index]
    assert shapely.equals_exact(frame.geometry.to_numpy(), expected.geometry.to_numpy()).all()
    for column in ("class_code", "class_name", "color", "pixels", "area_m2", "perimeter_m"):
        assert (frame[column] == expected[column]).all()
    assert frame["confidence"].isna().all()
    assert (frame["touches_edge"].astype(bool) == expected["touches_edge"]).all()
    assert (frame["touches_nodata"].astype(bool) == expected["touches_nodata"]).all()


def test_geopackage_has_a_default_style_with_every_class(files, expected):
    with sqlite3.connect(files[0] / "polygons.gpkg") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        registered = database.execute(
            "SELECT data_type FROM gpkg_contents WHERE table_name='layer_styles'"
        ).fetchone()
        geometry = database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns").fetchone()
    assert registered == ("attributes",)
    ((table, column, default, style),) = rows
    assert (table, column) == geometry
    assert default == 1
    renderer = ElementTree.fromstring(style).find("renderer-v2")
    assert renderer.get("type") == "categorizedSymbol"
    assert renderer.get("attr") == "class_code"
    assert {int(c.get("value")) for c in renderer.find("categories")} == set(expected["class_code"])
    symbols = {
        s.get("name"): s.find("layer/Option/Option[@name='color']").get("value")
        for s in renderer.find("symbols")
    }
    for category in renderer.find("categories"):
        red, green, blue, _ = map(int, symbols[category.get("symbol")].split(","))
        color = expected.loc[expected["class_code"] == int(category.get("value")), "color"].iloc[0]
        assert color == f"#{red:02x}{green:02x}{blue:02x}"


@pytest.mark.parametrize("ending", ["geojson", "geojsonl"])
def test_geojson_is_strict_and_in_longitude_latitude(files, expected, ending):
    text = (files[0] / f"polygons.{ending}").read_text(encoding="utf-8")
    features = (
        strict_json(text)["features"] if ending == "geojson" else [strict_json(x) for x in text.splitlines()]
    )
    assert len(features) == len(expected)
    if ending == "geojson":
        assert "crs" not in strict_json(text)  # RFC 7946, section 4
    to_degrees = Transformer.from_crs(32612, 4326, always_xy=True)
    geod = Geod(ellps="WGS84")
    for feature in features:
        row = expected.loc[feature["id"]]
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.exterior.is_ccw  # RFC 7946, section 3.1.6
        assert not any(ring.is_ccw for ring in geometry.interiors)
        longitude, latitude = to_degrees.transform(*row.geometry.representative_point().coords[0])
        assert geometry.buffer(1e-6).contains(shapely.Point(longitude, latitude))
        assert feature["properties"]["class_code"] == row["class_code"]
        if row["pixels"] > 500:  # seven decimals of a degree are a centimetre
            area, _ = geod.geometry_area_perimeter(geometry)
            assert area == pytest.approx(row["area_m2"], rel=2e-3)


def test_qupath_has_pixels_classes_and_stable_uuids(files, expected):
    document = strict_json((files[0] / "polygons.qupath.geojson").read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    areas = []
    for feature in document["features"]:
        geometry = shapely.geometry.shape(feature["geometry"])
        assert uuid.UUID(feature["id"]).version == 5
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert isinstance(properties["classification"]["name"], str)
        assert all(0 <= channel <= 255 for channel in properties["classification"]["color"])
        assert geometry.area == properties["measurements"]["Area px^2"]
        corners = shapely.get_coordinates(geometry)
        assert (corners == corners.round()).all()
        assert (corners >= 0).all()
        areas.append(geometry.area)
    assert sorted(areas) == sorted(expected["pixels"])
    assert len({feature["id"] for feature in document["features"]}) == len(expected)


def test_pmtiles_hold_every_large_feature(files, expected):
    path = files[0] / "polygons.pmtiles"
    info = pyogrio.read_info(path)
    assert info["crs"] == "EPSG:3857"
    found = set(pyogrio.read_dataframe(path)["id"])
    assert set(expected.index[expected["pixels"] > 16]) <= found <= set(expected.index)


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "fgb", "geojson", "geojsonl", "qupath.geojson"])
def test_eight_connected_features_come_back_whole(tmp_path, class_raster, ending):
    codes = np.random.default_rng(1).integers(0, 2, (20, 30)).astype(np.uint8)
    out = tmp_path / f"polygons.{ending}"
    report = polygonize(
        class_raster(tmp_path / "c.tif", codes), [out], PolygonizeOptions(connectivity=8, vector_tile=9)
    )
    if ending == "parquet":
        geo = strict_json(pq.read_metadata(out).metadata[b"geo"])
        jsonschema.validate(geo, GEOPARQUET_SCHEMA)
        assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon", "MultiPolygon"]
        shapes = geopandas.read_parquet(out).geometry
    else:
        shapes = pyogrio.read_dataframe(out, layer="polygons" if ending == "gpkg" else None).geometry
    assert len(shapes) == report.features
    assert shapes.is_valid.all()
    if ending in ("parquet", "gpkg", "fgb"):
        assert shapes.area.sum() == 600 * 0.25


def test_medical_raster_measures_in_its_unit(tmp_path):
    from segment_tiles.pipeline.grid.classes import ClassTable, MapClass  # noqa: PLC0415
    from segment_tiles.pipeline.grid.georef import GeoRef  # noqa: PLC0415
    from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store  # noqa: PLC0415

    table = ClassTable((MapClass(0, "stroma", (1, 2, 3)), MapClass(1, "tumour", (200, 0, 0))))
    georef = GeoRef((0.5, 0.0, 0.0, 0.0, 0.5, 0.0), None, "micrometer")
    store = open_store(create_store(tmp_path / "classes.zarr", (8, 10), georef, table), "r+")
    array_of(store, "classes")[2:5, 3:7] = 1
    out = [tmp_path / "p.parquet", tmp_path / "p.qupath.geojson"]
    report = polygonize(tmp_path, out)
    (row,) = pq.read_table(out[0]).to_pylist()
    assert row["area_um2"] == 12 * 0.25
    assert row["perimeter_um"] == 14 * 0.5
    assert report.unit == "um"
    assert not any("CRS" in note for note in report.notes)  # nobody expects one of a slide
    (feature,) = json.loads(out[1].read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).bounds == (3, 2, 7, 5)
    assert feature["properties"]["classification"] == {"name": "tumour", "color": [200, 0, 0]}


def test_qupath_of_a_coarser_level_is_in_full_resolution_pixels(tmp_path, class_raster):
    codes = np.zeros((8, 10), np.uint8)
    codes[2:5, 3:7] = 1
    raster = class_raster(tmp_path / "c.tif", codes, crs=None, transform=(4, 0, 0, 0, 4, 0))
    out = tmp_path / "p.qupath.geojson"
    for scale, bounds in ((1.0, (12, 8, 28, 20)), (2.0, (24, 16, 56, 40))):
        polygonize(raster, [out], PolygonizeOptions(background="0"), level_scale=scale)
        (feature,) = json.loads(out.read_text())["features"]
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.bounds == bounds
        # a pixel of this file covers 1 x 1 or 2 x 2 pixels of the slide, whatever its transform says
        assert feature["properties"]["measurements"]["Area px^2"] == 12 * scale**2
    placed = class_raster(tmp_path / "placed.tif", codes)
    polygonize(placed, [out], PolygonizeOptions(background="0"), level_scale=16)
    (feature,) = json.loads(out.read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).bounds == (48, 32, 112, 80)


def test_geographic_raster_is_measured_on_the_ellipsoid(tmp_path, class_raster, land_cover):
    step = 0.001
    raster = class_raster(
        tmp_path / "c.tif",
        land_cover[:80, 40:120],
        crs="EPSG:4326",
        transform=(step, 0, 11.0, 0, -step, 61.0),
    )
    polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(vector_tile=33))
    frame = geopandas.read_parquet(tmp_path / "p.parquet")
    geod = Geod(ellps="WGS84")
    for row in frame.itertuples():
        area, _ = geod.geometry_area_perimeter(row.geometry)
        perimeter = geod.geometry_length(row.geometry.boundary)  # of the holes too
        assert row.area_m2 == pytest.approx(abs(area), rel=1e-4)
        assert row.perimeter_m == pytest.approx(perimeter, rel=1e-4)


@pytest.mark.parametrize(
    "transform", [(2, 0, 5e5, 0, 2, 4e6), (0, 2, 5e5, 2, 0, 4e6), (1, 1, 5e5, 1, -1, 4e6)]
)
def test_shells_run_counter_clockwise_under_any_transform(tmp_path, class_raster, land_cover, transform):
    raster = class_raster(tmp_path / "c.tif", land_cover, transform=transform)
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    polygonize(raster, [first], PolygonizeOptions(vector_tile=77))
    polygonize(raster, [second])
    assert first.read_bytes() == second.read_bytes()
    frame = geopandas.read_parquet(first)
    assert frame.geometry.map(lambda g: g.exterior.is_ccw and not any(r.is_ccw for r in g.interiors)).all()
    a, b, _, d, e, _ = transform
    assert frame.geometry.area.sum() == pytest.approx((land_cover != 9).sum() * abs(a * e - b * d))


def test_feet_become_metres(tmp_path, class_raster):
    raster = class_raster(
        tmp_path / "c.tif", np.zeros((4, 5), np.uint8), crs="EPSG:2263", transform=(10, 0, 9e5, 0, -10, 2e5)
    )
    polygonize(raster, [tmp_path / "p.parquet"])
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    foot = 1200 / 3937  # the US survey foot
    assert row["area_planar_m2"] == pytest.approx(20 * 100 * foot**2, rel=1e-12)
    # the scale of the zone is within 1e-4 of 1 there
    assert row["area_m2"] == pytest.approx(20 * 100 * foot**2, rel=2e-4)
    assert row["perimeter_m"] == pytest.approx(180 * foot, rel=1e-4)


@pytest.mark.parametrize("ending", ["fgb", "geojson", "parquet", "gpkg"])
def test_a_style_for_qgis_lies_beside_every_file_with_the_class_column(run_folder, tmp_path, ending):
    path = tmp_path / f"crowns.{ending}"
    report = polygonize(run_folder, [path])
    renderer = ElementTree.parse(tmp_path / "crowns.qml").getroot().find("renderer-v2")
    column = (
        geopandas.read_parquet(path) if ending == "parquet" else geopandas.read_file(path, layer="crowns")
    )
    assert {int(category.get("value")) for category in renderer.iter("category")} == set(
        column[renderer.get("attr")]
    )
    assert [c.get("label") for c in renderer.iter("category")] == ["water", "crop", "tree", "développé"]
    assert report.files == (path,)
    assert not any(".qml" in note for note in report.notes)


def test_no_style_where_it_would_be_that_of_the_raster_or_of_the_user(class_raster, land_cover, tmp_path):
    raster = class_raster(tmp_path / "cover.tif", land_cover)
    report = polygonize(raster, [tmp_path / "cover.fgb"])
    assert not (tmp_path / "cover.qml").exists()
    assert "cover.qml" in report.notes[-1]
    (tmp_path / "other.qml").write_text("<qgis/>")
    report = polygonize(raster, [tmp_path / "other.fgb"])
    assert (tmp_path / "other.qml").read_text() == "<qgis/>"
    assert "other.qml" in report.notes[-1]
    polygonize(raster, [tmp_path / "third.qupath.geojson"])
    assert not (tmp_path / "third.qupath.qml").exists()


@pytest.mark.parametrize(
    ("crs", "corner", "pixel"),
    [
        ("EPSG:4326", (179, 1), 0.05),
        ("EPSG:4326", (-181, 1), 0.05),
        ("EPSG:4326", (539, 1), 0.05),
        ("EPSG:32660", (722_561.0, 110_580.0), 5550),  # UTM zone 60 beyond its edge
        ("EPSG:3832", (3_228_238.0, 110_580.0), 5550),  # Mercator around 150 degrees east
    ],
)
@pytest.mark.parametrize("ending", ["pmtiles", "geojsonl", "geojson"])
@pytest.mark.filterwarnings("ignore:Geometry is in a geographic CRS")
def test_polygons_across_180_degrees_are_cut_there(tmp_path, class_raster, crs, corner, pixel, ending):
    codes = np.zeros((40, 40), np.uint8)
    codes[5:30, 3:37], codes[10:12, 10:30], codes[33:36, 15:17] = 1, 2, 2
    raster = class_raster(
        tmp_path / "c.tif", codes, crs=crs, transform=(pixel, 0, corner[0], 0, -pixel, corner[1])
    )
    report = polygonize(raster, [tmp_path / f"p.{ending}"])
    frame = pyogrio.read_dataframe(tmp_path / f"p.{ending}").to_crs(4326)
    assert frame.is_valid.all()
    for code, count in enumerate(np.bincount(codes.ravel())):
        whole = frame[frame["class_code"] == code].union_all()
        # 2 x 2 degrees are 1600 pixels
        assert whole.area == pytest.approx(count / 400, rel=0.02)
        west, _, east, _ = whole.bounds
        assert (west, east) == pytest.approx((-180, 180), abs=1e-6) or code == 2
        narrow = shapely.intersection(whole, shapely.box(-178.5, -90, 178.5, 90))
        assert narrow.area == 0
    assert len(report.notes) == 1


def test_a_raster_of_the_whole_world_is_not_cut(tmp_path, class_raster):
    codes = np.zeros((18, 36), np.uint8)
    codes[4:14, 2:34] = 1
    for crs, transform in (
        ("EPSG:4326", (10, 0, -180, 0, -10, 90)),
        ("EPSG:3857", (20037508.34 / 18, 0, -20037508.34, 0, -20037508.34 / 18, 10018754.17)),
    ):
        raster = class_raster(tmp_path / "c.tif", codes, crs=crs, transform=transform)
        report = polygonize(raster, [tmp_path / "p.geojsonl"])
        frame = pyogrio.read_dataframe(tmp_path / "p.geojsonl").set_index("class_code")
        assert frame.loc[1, "geometry"].bounds[::2] == pytest.approx((-160, 160), abs=1e-6)
        assert frame.loc[0, "geometry"].bounds[::2] == pytest.approx((-180, 180), abs=1e-6)
        assert not any("pole" in note for note in report.notes)


def test_features_around_a_pole_are_told_of(tmp_path, class_raster):
    codes = np.zeros((20, 20), np.uint8)
    codes[8:12, 8:12] = 1
    raster = class_raster(tmp_path / "c.tif", codes, crs="EPSG:3413", transform=(1e5, 0, -1e6, 0, -1e5, 1e6))
    report = polygonize(raster, [tmp_path / "p.geojsonl"])
    assert any("2 features go around a pole" in note for note in report.notes)


@pytest.mark.parametrize("ending", ["geojson", "geojsonl"])
def test_a_grid_with_pixels_centred_on_the_poles_ends_there(tmp_path, class_raster, ending):
    codes = np.zeros((19, 36), np.uint8)
    codes[4:14, 2:34] = 1
    raster = class_raster(tmp_path / "c.tif", codes, crs="EPSG:4326", transform=(10, 0, -5, 0, -10, 95))
    polygonize(raster, [tmp_path / f"p.{ending}"])
    frame = pyogrio.read_dataframe(tmp_path / f"p.{ending}")
    assert tuple(frame.total_bounds) == (-180, -90, 180, 90)
    assert frame.union_all().area == pytest.approx(360 * 180)
