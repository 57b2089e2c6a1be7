"""Laws of polygons: exact areas, one answer for every tiling, the answer of the whole array."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.ndimage
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

NODATA = 9


def polygons(
    raster: Path, out: Path, workers: int = 1, threads: int = 1, **options
) -> tuple[bytes, list[dict]]:
    polygonize(raster, [out], PolygonizeOptions(**options), workers=workers, threads=threads)
    return out.read_bytes(), pq.read_table(out).to_pylist()


def rasters(most: int = 12, classes: int = 3):
    """Small rasters of few classes, with nodata among them."""
    shapes = st.tuples(st.integers(1, most), st.integers(1, most))
    values = st.sampled_from([*range(classes), NODATA])
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=values))


def whole_array_answer(
    codes: np.ndarray, connectivity: int, pixel: float = 0.5
) -> dict[tuple, shapely.Geometry]:
    """Label each class of the whole array, and unite the squares of the pixels of each component."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    answer = {}
    for code in np.unique(codes[codes != NODATA]):
        labels, count = scipy.ndimage.label(codes == code, structure)
        for label in range(1, count + 1):
            rows, columns = np.nonzero(labels == label)
            x, y = 500_000 + columns * pixel, 4_000_000 - rows * pixel
            squares = shapely.box(x, y - pixel, x + pixel, y)
            answer[int(code), len(rows), int(rows[0]), int(columns[0])] = shapely.union_all(squares)
    return answer


@pytest.mark.parametrize("connectivity", [4, 8])
@given(codes=rasters(10), side=st.integers(1, 6))
def test_features_are_those_of_the_whole_array(tmp_path_factory, class_raster, connectivity, codes, side):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    _, rows = polygons(raster, folder / "out.parquet", connectivity=connectivity, vector_tile=side)
    expected = whole_array_answer(codes, connectivity)
    found = {}
    for row in rows:
        geometry = shapely.from_wkb(row["geometry"])
        assert geometry.is_valid
        assert row["area_planar_m2"] == row["pixels"] * 0.25
        assert geometry.area == row["area_planar_m2"]
        assert row["perimeter_m"] == pytest.approx(geometry.length, rel=1e-3), "the scale of the UTM zone"
        found[row["class_code"], row["pixels"], geometry.normalize().wkt] = row
    assert len(found) == len(rows) == len(expected)
    for (code, pixels, *_), shape in expected.items():
        simple = shapely.simplify(shape, 0)  # drops the vertices between squares, nothing else
        match = [
            r
            for r in rows
            if r["class_code"] == code and shapely.equals(shapely.from_wkb(r["geometry"]), simple)
        ]
        assert len(match) == 1
        assert match[0]["pixels"] == pixels


@pytest.mark.parametrize("connectivity", [4, 8])
@given(codes=rasters(), sides=st.tuples(st.integers(2, 7), st.integers(1, 20)))
def test_file_is_the_same_for_every_vector_tile(tmp_path_factory, class_raster, connectivity, codes, sides):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    first, second = (
        polygons(raster, folder / "out.parquet", connectivity=connectivity, vector_tile=side)[0]
        for side in sides
    )
    assert first == second


CHANGES = (
    {"sieve": 4}, {"minimum_hole": 5}, {"majority": 3}, {"minimum_area": 3},
    {"majority": 5, "sieve": 3, "minimum_hole": 4, "minimum_area": 2},
)  # fmt: skip


@given(
    codes=rasters(10),
    side=st.integers(2, 6),
    change=st.sampled_from(CHANGES),
    connectivity=st.sampled_from([4, 8]),
)
def test_changes_before_geometry_do_not_depend_on_the_tiling(
    tmp_path_factory, class_raster, codes, side, change, connectivity
):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    tiled, _ = polygons(raster, folder / "out.parquet", connectivity=connectivity, vector_tile=side, **change)
    whole, _ = polygons(raster, folder / "out.parquet", connectivity=connectivity, vector_tile=64, **change)
    assert tiled == whole


@given(codes=rasters(classes=2))
def test_class_areas_are_pixel_counts_times_pixel_area(tmp_path_factory, class_raster, codes):
    folder = tmp_path_factory.mktemp("law")
    _, rows = polygons(class_raster(folder / "classes.tif", codes), folder / "out.parquet", vector_tile=5)
    for code in (0, 1):
        area = sum(row["area_planar_m2"] for row in rows if row["class_code"] == code)
        assert area == (codes == code).sum() * 0.25


@pytest.mark.parametrize("tolerance", [0.0, 2.0])
def test_worker_count_changes_nothing(tmp_path, class_raster, tolerance):
    codes = np.random.default_rng(0).integers(0, 3, (150, 170)).astype(np.uint8)
    codes = scipy.ndimage.median_filter(codes, 5)
    raster = class_raster(tmp_path / "classes.tif", codes)
    one, rows = polygons(raster, tmp_path / "one.parquet", vector_tile=64, sieve=5, simplify=tolerance)
    two, _ = polygons(
        raster, tmp_path / "two.parquet", workers=2, vector_tile=64, sieve=5, simplify=tolerance
    )
    three, _ = polygons(
        raster, tmp_path / "three.parquet", threads=3, vector_tile=64, sieve=5, simplify=tolerance
    )
    assert one == two == three
    assert len({row["id"] for row in rows}) == len(rows)


@given(
    codes=rasters(10),
    side=st.integers(2, 6),
    tolerance=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    connectivity=st.sampled_from([4, 8]),
)
def test_simplified_features_tile_the_same_ground(
    tmp_path_factory, class_raster, codes, side, tolerance, connectivity
):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    _, exact = polygons(raster, folder / "exact.parquet", connectivity=connectivity)
    _, rows = polygons(
        raster, folder / "out.parquet", connectivity=connectivity, vector_tile=side, simplify=tolerance
    )
    before = {row["id"]: shapely.from_wkb(row["geometry"]) for row in exact}
    assert set(before) == {row["id"] for row in rows}
    shapes = shapely.from_wkb([row["geometry"] for row in rows])
    for row, shape in zip(rows, shapes, strict=True):  # pixels of half a metre
        moved = shapely.hausdorff_distance(before[row["id"]].boundary, shape.boundary)
        assert moved <= 0.5 * tolerance + 1e-6
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    covered = shapely.area(shapes).sum()
    assert shapely.union_all(shapes).area == pytest.approx(covered, rel=1e-9)  # no overlap
    if (codes != NODATA).all():  # the border to nodata is simplified as well, the edge of the raster is not
        assert covered == pytest.approx(codes.size * 0.25, rel=1e-9)  # no gap
