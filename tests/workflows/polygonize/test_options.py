"""What the options do to the features."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

NODATA = 9


def rows_of(raster, out, **options):
    polygonize(raster, [out], PolygonizeOptions(**options))
    rows = pq.read_table(out).to_pylist()
    for row in rows:
        row["geometry"] = shapely.from_wkb(row["geometry"])
    return rows


@pytest.fixture
def raster(tmp_path, class_raster, land_cover):
    return class_raster(tmp_path / "classes.tif", land_cover)


def test_classes_and_background(raster, tmp_path):
    everything = rows_of(raster, tmp_path / "a.parquet")
    two = rows_of(raster, tmp_path / "b.parquet", classes=("1", "3"))
    without = rows_of(raster, tmp_path / "c.parquet", background="0")
    assert {row["class_code"] for row in two} == {1, 3}
    assert {row["id"] for row in two} == {row["id"] for row in everything if row["class_code"] in (1, 3)}
    assert {row["class_code"] for row in without} == {1, 2, 3}


def test_minimum_area_counts_whole_features_not_their_pieces(tmp_path, class_raster):
    codes = np.zeros((1, 12), dtype=np.uint8)
    codes[0, 2:8] = 1  # six pixels, cut by seams into 1 + 3 + 2
    raster = class_raster(tmp_path / "classes.tif", codes)
    kept = rows_of(raster, tmp_path / "a.parquet", minimum_area=6, vector_tile=3)
    dropped = rows_of(raster, tmp_path / "b.parquet", minimum_area=7, vector_tile=3)
    assert [row["pixels"] for row in kept if row["class_code"] == 1] == [6]
    assert [row["pixels"] for row in dropped if row["class_code"] == 1] == []


@pytest.mark.parametrize("side", [100, 512])
def test_simplified_features_stay_a_coverage(raster, tmp_path, side):
    exact = rows_of(raster, tmp_path / "a.parquet")
    simple = rows_of(raster, tmp_path / "b.parquet", simplify=2.0, vector_tile=side)
    shapes = [row["geometry"] for row in simple]
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert {row["id"] for row in exact} == {row["id"] for row in simple}
    # no gap and no overlap: the union has the area of all valid pixels, and so has the sum
    assert shapely.union_all(shapes).area == pytest.approx(
        sum(row["area_planar_m2"] for row in exact), rel=1e-12
    )
    assert shapely.area(shapes).sum() == pytest.approx(sum(row["area_planar_m2"] for row in exact), rel=1e-12)
    assert [row["area_planar_m2"] for row in simple] == [shape.area for shape in shapes]
    before = shapely.get_num_coordinates([row["geometry"] for row in exact]).sum()
    assert before > 2.5 * shapely.get_num_coordinates(shapes).sum()


def test_simplified_features_keep_their_nodata_and_excluded_borders(raster, tmp_path):
    rows = rows_of(
        raster, tmp_path / "a.parquet", simplify=2.0, background="1", minimum_area=20, vector_tile=90
    )
    shapes = [row["geometry"] for row in rows]
    assert shapely.coverage_is_valid(shapes)
    assert all(row["pixels"] >= 20 for row in rows)


def test_simplification_of_a_smooth_map_drops_four_fifths_of_the_vertices(tmp_path, class_raster):
    y, x = np.mgrid[:400, :400]
    codes = ((np.hypot(x - 120, y - 150) < 90) + 2 * (np.hypot(x - 260, y - 230) < 120)).astype(np.uint8)
    raster = class_raster(tmp_path / "classes.tif", codes)
    exact = [row["geometry"] for row in rows_of(raster, tmp_path / "a.parquet")]
    simple = [
        row["geometry"] for row in rows_of(raster, tmp_path / "b.parquet", simplify=2.0, vector_tile=128)
    ]
    assert shapely.get_num_coordinates(exact).sum() >= 5 * shapely.get_num_coordinates(simple).sum()


def test_right_angles_touch_only_their_class(tmp_path, class_raster):
    codes = np.zeros((60, 60), dtype=np.uint8)
    y, x = np.mgrid[:60, :60]
    along, across = 0.9 * (x - 30) + 0.436 * (y - 30), -0.436 * (x - 30) + 0.9 * (y - 30)
    codes[(abs(along) < 20) & (abs(across) < 12)] = 1
    codes[5:9, 5:9] = 2
    raster = class_raster(tmp_path / "classes.tif", codes)
    exact = {row["class_code"]: row for row in rows_of(raster, tmp_path / "a.parquet")}
    for side in (17, 512):
        built = {
            row["class_code"]: row
            for row in rows_of(raster, tmp_path / "b.parquet", right_angles=("1",), vector_tile=side)
        }
        building = built[1]["geometry"]
        assert len(building.exterior.coords) == 5
        steps = np.diff(shapely.get_coordinates(building), axis=0)
        assert (steps * np.roll(steps, 1, axis=0)).sum(axis=1) == pytest.approx(0, abs=1e-6)
        assert building.intersection(exact[1]["geometry"]).area > 0.95 * exact[1]["area_planar_m2"]
        assert built[1]["area_planar_m2"] == building.area
        assert built[1]["id"] == exact[1]["id"]
        assert built[2] == exact[2]


def test_sieve_takes_the_largest_neighbour_of_the_whole_component(tmp_path, class_raster):
    codes = np.array([
        [1, 1, 1, 1, 1, 1],
        [1, 2, 2, 3, 3, 3],
        [1, 1, 1, 3, 3, 3],
        [4, 3, 3, 3, 3, 3],
    ], dtype=np.uint8)  # fmt: skip
    raster = class_raster(tmp_path / "classes.tif", codes)
    for side in (1, 2, 3, 8):
        rows = rows_of(raster, tmp_path / "out.parquet", sieve=3, vector_tile=side)
        # the two pixels of class 2 touch 10 pixels of 1 and 11 of 3; the single 4 does too
        assert {row["class_code"]: row["pixels"] for row in rows} == {1: 10, 3: 14}


def test_hole_of_several_classes_is_filled_as_one(tmp_path, class_raster):
    codes = np.ones((7, 8), dtype=np.uint8)
    codes[2, 2:4] = (2, 3)
    codes[3, 3] = NODATA
    codes[5:, 7] = 2  # at the edge of the raster: no hole
    raster = class_raster(tmp_path / "classes.tif", codes)
    for side in (1, 3, 8):
        rows = rows_of(raster, tmp_path / "a.parquet", minimum_hole=4, vector_tile=side)
        assert {row["class_code"]: row["pixels"] for row in rows} == {1: 54, 2: 2}
        untouched = rows_of(raster, tmp_path / "b.parquet", minimum_hole=3, vector_tile=side)
        assert sorted((r["class_code"], r["pixels"]) for r in untouched) == [(1, 51), (2, 1), (2, 2), (3, 1)]


def test_majority_follows_the_neighbourhood(tmp_path, class_raster):
    codes = np.zeros((5, 6), dtype=np.uint8)
    codes[2, 2] = 1
    codes[:, 4:] = 2
    codes[0, 0] = NODATA
    raster = class_raster(tmp_path / "classes.tif", codes)
    for side in (2, 8):
        rows = rows_of(raster, tmp_path / "out.parquet", majority=3, vector_tile=side)
        assert {row["class_code"]: row["pixels"] for row in rows} == {0: 19, 2: 10}


def test_confidence_is_the_mean_over_the_whole_feature(run_folder, tmp_path, land_cover):
    rows = rows_of(run_folder, tmp_path / "out.parquet", vector_tile=64)
    for row in rows:
        assert row["confidence"] == pytest.approx((100 + 30 * row["class_code"]) / 255)
    assert {row["class_name"] for row in rows} == {"water", "crop", "tree", "développé"}
    assert {row["color"] for row in rows if row["class_name"] == "tree"} == {"#008000"}
    assert sum(row["pixels"] for row in rows) == (land_cover != NODATA).sum()


@pytest.mark.parametrize("wrong", [
    {"connectivity": 6}, {"majority": 4}, {"majority": 1}, {"vector_tile": 0}, {"sieve": -1},
    {"minimum_area": -2}, {"minimum_hole": -1}, {"simplify": -0.5},
])  # fmt: skip
def test_options_out_of_range_are_refused(wrong, refuses):
    text = refuses(UsageError, lambda: PolygonizeOptions(**wrong))
    assert str(next(iter(wrong.values()))) in text


def test_unknown_class_is_refused_with_the_known_names(run_folder, tmp_path, refuses):
    for option in ({"classes": ("forest",)}, {"background": "forest"}, {"right_angles": ("forest",)}):
        text = refuses(VectorError, lambda o=option: rows_of(run_folder, tmp_path / "out.parquet", **o))
        assert "'forest'" in text
        assert "water, crop, tree" in text
