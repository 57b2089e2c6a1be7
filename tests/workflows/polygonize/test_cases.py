"""Shapes that break polygonisers, each with the answer worked out by hand."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

NODATA = 9


@pytest.fixture
def features(tmp_path, class_raster):
    """Polygonises an array in pixel coordinates and returns its rows, geometries decoded."""

    def run(codes: np.ndarray, **options) -> list[dict]:
        raster = class_raster(tmp_path / "classes.tif", codes.astype(np.uint8), crs=None, transform=None)
        out = tmp_path / "out.parquet"
        polygonize(raster, [out], PolygonizeOptions(**options))
        rows = pq.read_table(out).to_pylist()
        for row in rows:
            row["geometry"] = shapely.from_wkb(row["geometry"])
            assert row["geometry"].is_valid
            assert row["geometry"].area == row["pixels"]
        return rows

    return run


def spiral(side: int) -> np.ndarray:
    """One path of ones, one pixel wide, winding inward with one pixel between its turns."""
    codes = np.zeros((side, side), dtype=np.uint8)
    row = column = 0
    down, right = 0, 1
    codes[0, 0] = 1
    while True:
        steps = 0
        while True:
            r, c = row + down, column + right
            beyond_r, beyond_c = r + down, c + right
            if not (0 <= r < side and 0 <= c < side):
                break
            if 0 <= beyond_r < side and 0 <= beyond_c < side and codes[beyond_r, beyond_c]:
                break
            row, column = r, c
            codes[row, column] = 1
            steps += 1
        if steps < 2:
            return codes
        down, right = right, -down


@pytest.mark.parametrize("side", [5, 8, 64])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_spiral_is_one_feature(features, side, connectivity):
    codes = spiral(41)
    rows = features(codes, connectivity=connectivity, vector_tile=side)
    (arm,) = [row for row in rows if row["class_code"] == 1]
    assert arm["pixels"] == codes.sum()
    assert len(arm["geometry"].interiors) == 0
    assert (
        arm["perimeter_px"] == 2 * codes.sum() + 2
    )  # every pixel of a path adds two edges, the ends one each


@pytest.mark.parametrize("side", [4, 7, 64])
def test_checkerboard(features, side):
    codes = np.indices((12, 12)).sum(axis=0) % 2
    four = features(codes, connectivity=4, vector_tile=side)
    eight = features(codes, connectivity=8, vector_tile=side)
    assert len(four) == 144
    assert all(row["pixels"] == 1 for row in four)
    assert len(eight) == 2
    assert all(len(shapely.get_parts(row["geometry"])) == 72 for row in eight)
    assert all(row["perimeter_px"] == 72 * 4 for row in eight)


@pytest.mark.parametrize("side", [3, 64])
@pytest.mark.parametrize("falling", [True, False])
def test_diagonal_chain_of_single_pixels(features, side, falling):
    codes = np.eye(10) if falling else np.eye(10)[::-1]
    assert len([r for r in features(codes, connectivity=4, vector_tile=side) if r["class_code"] == 1]) == 10
    rows = features(codes, connectivity=8, vector_tile=side)
    (chain,) = [row for row in rows if row["class_code"] == 1]
    assert chain["pixels"] == 10
    # the other class passes between the pixels of the chain: both sides are one feature
    assert len(rows) == 2


@pytest.mark.parametrize("side", [4, 64])
def test_frame_of_nodata(features, side):
    codes = np.full((12, 10), NODATA)
    codes[2:-2, 2:-2] = 1
    codes[5, 5] = 2
    rows = {row["class_code"]: row for row in features(codes, vector_tile=side)}
    assert set(rows) == {1, 2}
    assert rows[1]["touches_nodata"]
    assert not rows[2]["touches_nodata"]
    assert not rows[1]["touches_edge"]
    assert rows[1]["geometry"].bounds == (2, -10, 8, -2)
    assert len(rows[1]["geometry"].interiors) == 1


def test_flags_see_across_seams(features):
    codes = np.array([[1, 2, 9, 3, 4]])
    rows = {row["class_code"]: row for row in features(codes, vector_tile=1)}
    assert [rows[code]["touches_nodata"] for code in (1, 2, 3, 4)] == [False, True, True, False]
    assert all(row["touches_edge"] for row in rows.values())


@pytest.mark.parametrize("connectivity", [4, 8])
def test_class_that_spans_the_raster_with_ten_thousand_holes(features, connectivity):
    codes = np.zeros((401, 401))
    codes[2::4, 2::4] = 1
    assert codes.sum() == 10_000
    rows = features(codes, connectivity=connectivity, vector_tile=97)
    assert len(rows) == 10_001
    (sheet,) = [row for row in rows if row["class_code"] == 0]
    assert len(sheet["geometry"].interiors) == 10_000
    assert sheet["pixels"] == 401 * 401 - 10_000
    assert sheet["perimeter_px"] == 4 * 401 + 4 * 10_000


def test_island_in_the_hole_of_its_own_class_joined_at_a_corner(features):
    codes = np.array([
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 1, 0, 0, 1],
        [1, 0, 0, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ])  # fmt: skip
    for side in (2, 3, 64):
        rows = [row for row in features(codes, connectivity=8, vector_tile=side) if row["class_code"] == 1]
        assert [row["pixels"] for row in rows] == [21]


def test_raster_of_one_pixel(features):
    (row,) = features(np.array([[5]]))
    assert row["pixels"] == 1
    assert row["touches_edge"]
