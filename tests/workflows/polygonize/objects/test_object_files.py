"""Files of objects: detections, a table without outlines, label images; shapes as scikit-image measures them."""

import json
import math
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.features
import scipy.ndimage
import shapely
import zarr
from skimage.measure import regionprops

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons import objects
from segment_tiles.workflows.polygons import polygonize as workflow
from segment_tiles.workflows.polygons.polygonize import polygonize

SIDE = 37
RULES = (ObjectRule("1", "2", 6),)
NAMES = (
    "a.parquet", "a.gpkg", "a.qupath.geojson", "a.objects.parquet", "a.labels.zarr", "a.labels.tif", "a.shp",
)  # fmt: skip


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """Ellipses that touch, each in a rim of the border class, on a background with a hole of nodata."""
    ys, xs = np.mgrid[:150, :170]
    codes = np.zeros((150, 170), np.uint8)
    generator = np.random.default_rng(5)
    for y, x in generator.integers(0, 170, (40, 2)):
        turn, long, short = generator.uniform(0, np.pi), generator.uniform(6, 14), generator.uniform(4, 8)
        down, right = ys - y, xs - x
        along = (np.cos(turn) * right + np.sin(turn) * down) / long
        across = (np.cos(turn) * down - np.sin(turn) * right) / short
        distance = np.hypot(along, across)
        codes[(distance <= 1.3) & (codes != 1)] = 2
        codes[distance <= 1] = 1
    codes[70:80, 60:75] = 9
    return codes


@pytest.fixture(scope="module")
def folder(codes: np.ndarray, class_raster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the objects, in pixels."""
    folder = tmp_path_factory.mktemp("files")
    raster = class_raster(folder / "classes.tif", codes, crs=None, transform=None)
    options = PolygonizeOptions(objects=RULES, vector_tile=SIDE)
    polygonize(raster, [folder / name for name in NAMES], options, level_scale=4.0)
    return folder


@pytest.fixture(scope="module")
def labels(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "a.labels.tif") as dataset:
        assert (dataset.dtypes, dataset.nodata, dataset.overviews(1)) == (("uint32",), 0, [])
        return dataset.read(1)


def test_label_images_have_the_numbers_of_the_features(folder: Path, labels: np.ndarray) -> None:
    rows = geopandas.read_parquet(folder / "a.parquet")
    objects = rows[rows["object"].notna()]
    assert len(objects) > 10
    assert sorted(objects["object"]) == list(range(1, len(objects) + 1))
    down = [shapely.transform(shape, lambda xy: xy * [1, -1]) for shape in objects.geometry]
    drawn = rasterio.features.rasterize(
        zip(down, objects["object"].astype(int), strict=True), labels.shape, dtype="uint32"
    )
    np.testing.assert_array_equal(drawn, labels)
    group = zarr.open_group(folder / "a.labels.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:], labels)
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    assert ome["image-label"]["properties"] == [{"label-value": 0, "class": "no object"}]
    assert [entry["path"] for entry in ome["multiscales"][0]["datasets"]] == sorted(group.array_keys())
    written = geopandas.read_file(folder / "a.shp")
    assert {"object", "eq_diam_px", "major_px", "minor_px", "orient_deg", "neighbours"} <= set(
        written.columns
    )


def test_the_table_has_the_objects_without_outlines(folder: Path) -> None:
    rows = pq.read_table(folder / "a.parquet").to_pylist()
    table = pq.read_table(folder / "a.objects.parquet").to_pylist()
    wanted = [row for row in rows if row["object"] is not None]
    assert table == [{k: v for k, v in row.items() if k not in {"geometry", "bbox"}} for row in wanted]
    areas = [row for row in rows if row["object"] is None]
    assert {row["class_code"] for row in areas} == {0}
    assert all(row["neighbours"] is row["solidity"] is row["centroid_x"] is None for row in areas)


def test_shapes_are_those_of_scikit_image(folder: Path, labels: np.ndarray) -> None:
    rows = {row["object"]: row for row in pq.read_table(folder / "a.objects.parquet").to_pylist()}
    found = regionprops(labels.astype(np.int64))
    assert {region.label for region in found} == set(rows)
    padded = np.pad(labels, 1)
    for region in found:
        row = rows[region.label]
        assert row["pixels"] == row["area_px2"] == region.num_pixels
        y, x = region.centroid
        assert (row["centroid_x"], row["centroid_y"]) == pytest.approx((x + 0.5, -(y + 0.5)))
        assert row["equivalent_diameter_px"] == pytest.approx(region.equivalent_diameter_area)
        assert row["major_axis_px"] == pytest.approx(region.axis_major_length)
        assert row["minor_axis_px"] == pytest.approx(region.axis_minor_length, abs=1e-6)
        assert row["eccentricity"] == pytest.approx(region.eccentricity, abs=1e-6)
        assert math.cos(2 * (math.radians(row["orientation_deg"]) - region.orientation)) == pytest.approx(1)
        here = padded == region.label
        around = np.zeros_like(here)
        around[1:] |= here[:-1]
        around[:-1] |= here[1:]
        around[:, 1:] |= here[:, :-1]
        around[:, :-1] |= here[:, 1:]
        assert row["neighbours"] == len(set(padded[around].tolist()) - {0, region.label})
    assert max(row["neighbours"] for row in rows.values()) > 1


def test_solidity_and_ground_follow_the_outline(folder: Path, codes: np.ndarray, class_raster) -> None:
    rows = geopandas.read_parquet(folder / "a.parquet")
    objects = rows[rows["object"].notna()]
    hulls = objects.geometry.convex_hull.area
    np.testing.assert_allclose(objects["solidity"], objects.geometry.area / hulls)
    raster = class_raster(folder / "ground.tif", codes, crs="EPSG:4326", transform=(2e-5, 0, 9, 0, -1e-5, 60))
    polygonize(raster, [folder / "ground.objects.parquet"], PolygonizeOptions(objects=RULES, vector_tile=60))
    ground = pq.read_table(folder / "ground.objects.parquet").to_pandas().set_index("object")
    flat = objects.set_index("object")
    # at 60 degrees north a pixel of 2 by 1 hundred-thousandths of a degree is a square of 1.1 m
    ratio = ground["major_axis_m"] / flat["major_axis_px"]
    np.testing.assert_allclose(ratio, 1.115, rtol=0.005)
    np.testing.assert_allclose(ground["eccentricity"], flat["eccentricity"], rtol=0.05, atol=0.07)


def test_objects_are_detections_and_areas_annotations(folder: Path, labels: np.ndarray) -> None:
    features = json.loads((folder / "a.qupath.geojson").read_text())["features"]
    rows = pq.read_table(folder / "a.parquet").to_pylist()
    kinds = [feature["properties"]["objectType"] for feature in features]
    assert kinds == ["annotation" if row["object"] is None else "detection" for row in rows]
    for feature, row in zip(features, rows, strict=True):
        properties = feature["properties"]
        assert properties["isLocked"] is False
        measured = properties["measurements"]
        assert measured["Area px^2"] == row["pixels"] * 16, "in pixels of the full resolution"
        if row["object"] is not None:
            assert measured["Object"] == row["object"]
            assert measured["Major axis px"] == pytest.approx(4 * row["major_axis_px"])
            assert measured["Solidity"] == row["solidity"]


def test_qupath_gets_no_lengths_of_the_ground(codes: np.ndarray, class_raster, tmp_path: Path) -> None:
    raster = class_raster(
        tmp_path / "ground.tif", codes, crs="EPSG:4326", transform=(2e-5, 0, 9, 0, -1e-5, 60)
    )
    out = tmp_path / "a.qupath.geojson"
    made = polygonize(raster, [out], PolygonizeOptions(objects=RULES, vector_tile=200))
    assert [note for note in made.notes if "lengths of objects are left out" in note]
    measured = [f["properties"]["measurements"] for f in json.loads(out.read_text())["features"]]
    assert {"Solidity", "Orientation °"} <= set(measured[-1] | measured[0])
    assert not [name for names in measured for name in names if name.endswith((" px", " µm"))]


def test_angles_are_those_of_the_ground(class_raster, tmp_path: Path) -> None:
    codes = np.zeros((40, 40), np.uint8)
    codes[10:14, 10:22] = 1  # 4 m down, 1.2 m to the right
    codes[[20, 21, 22, 23, 24], [5, 7, 9, 11, 13]] = 1
    codes[[20, 21, 22, 23, 24], [6, 8, 10, 12, 14]] = 1
    raster = class_raster(tmp_path / "a.tif", codes, crs=None, transform=(0.1, 0, 0, 0, -1, 0))
    rules, out = (ObjectRule("1"),), tmp_path / "a.objects.parquet"
    polygonize(raster, [out], PolygonizeOptions(objects=rules, vector_tile=12, connectivity=8))
    rows = pq.read_table(out).to_pylist()
    found = sorted(rows, key=lambda row: row["object"])
    expected = regionprops(scipy.ndimage.label(codes == 1, np.ones((3, 3)))[0], spacing=(1, 0.1))
    for row, region in zip(found, expected, strict=True):
        assert row["orientation_deg"] == pytest.approx(math.degrees(region.orientation))
        assert row["major_axis_map"] == pytest.approx(region.axis_major_length)
    raster = class_raster(tmp_path / "b.tif", codes, crs="EPSG:4326", transform=(1e-6, 0, 9, 0, -1e-5, 60))
    polygonize(raster, [out], PolygonizeOptions(objects=rules, connectivity=8))
    assert pq.read_table(out)["orientation_deg"].to_pylist()[0] == pytest.approx(0, abs=1e-6)


def test_a_label_image_is_written_again_and_no_other_folder_is_replaced(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.labels.zarr"
    for reach in (6, 1):
        polygonize(folder / "classes.tif", [out], PolygonizeOptions(objects=(ObjectRule("1", "2", reach),)))
    before, after = (zarr.open_group(path, mode="r")["0"][:] for path in (folder / out.name, out))
    assert (after > 0).sum() < (before > 0).sum()
    other = tmp_path / "b.labels.zarr"
    zarr.open_group(other, mode="w").attrs["mine"] = 1
    with pytest.raises(SegmentTilesError, match="is a folder; give the name of a file"):
        polygonize(folder / "classes.tif", [other], PolygonizeOptions(objects=RULES))
    by_class = tmp_path / "c.class_1.labels.zarr"
    by_class.mkdir()
    with pytest.raises(SegmentTilesError, match="is a folder"):
        polygonize(
            folder / "classes.tif",
            [tmp_path / "c.labels.zarr"],
            PolygonizeOptions(objects=RULES, classes=("1",)),
            split_by_class=True,
        )


@pytest.mark.parametrize("name", ["a.objects.parquet", "a.labels.zarr", "a.labels.tif"])
def test_files_of_objects_need_some(name: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SegmentTilesError, match="holds objects alone, and no class has any; name one by"):
        polygonize(folder / "classes.tif", [tmp_path / name])


def test_objects_that_are_found_are_not_found_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PolygonizeOptions(objects=RULES, vector_tile=100)
    wanted = tmp_path / "wanted.parquet"
    before = polygonize(folder / "classes.tif", [wanted], options)
    out = tmp_path / "out.parquet"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workflow, "write_files", killed)
        with pytest.raises(KeyboardInterrupt):
            polygonize(folder / "classes.tif", [out], options)
    tiles = tmp_path / ".out.parquet.tiles"
    assert not (tiles / "seeds.zarr").exists(), "only identities are kept"
    monkeypatch.setattr(objects, "ObjectWorker", killed)
    after = polygonize(folder / "classes.tif", [out], options)
    assert out.read_bytes() == wanted.read_bytes()
    assert (after.notes, after.classes) == (before.notes, before.classes)
    assert not tiles.exists()
