"""Laws of objects: those of the whole array, by brute force, for every tiling, worker and process."""

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.ndimage
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

NUCLEUS, BORDER, OTHER, NODATA = 1, 2, 3, 9
FEWER = settings(max_examples=max(6, settings().max_examples // 4))
"""Each example is polygonised as a file."""
PIXEL = 0.5


def rows_of(
    raster: Path, out: Path, workers: int = 1, **options
) -> tuple[bytes, list[dict], tuple[str, ...]]:
    made = polygonize(raster, [out], PolygonizeOptions(background="0", **options), workers=workers)
    return out.read_bytes(), pq.read_table(out).to_pylist(), made.notes


def rasters(most: int = 11, values=(0, NUCLEUS, NUCLEUS, BORDER, BORDER, OTHER, NODATA)):
    shapes = st.tuples(st.integers(1, most), st.integers(1, most))
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from(values)))


def seeds_of(member: np.ndarray, connectivity: int) -> np.ndarray:
    """Return the first pixel of the piece of each pixel, from 1 on; scipy labels in reading order."""
    labels, count = scipy.ndimage.label(member, np.ones((3, 3)) if connectivity == 8 else None)
    first = [0, *(int(np.flatnonzero(labels == n)[0]) + 1 for n in range(1, count + 1))]
    return np.array(first)[labels]


def given_to_nearest(seeds: np.ndarray, waiting: np.ndarray, reach: int) -> np.ndarray:
    """Look at every seed from every waiting pixel."""
    owners = seeds.copy()
    places = [(int(y), int(x), int(seeds[y, x])) for y, x in zip(*np.nonzero(seeds), strict=True)]
    for y, x in zip(*np.nonzero(waiting), strict=True):
        near = [((y - r) ** 2 + (x - c) ** 2, seed) for r, c, seed in places]
        near = [entry for entry in near if entry[0] <= reach**2]
        owners[y, x] = min(near)[1] if near else 0
    return owners


def covered(rows: list[dict], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the pixels of each object, from its outline."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    found = {}
    for row in rows:
        geometry = shapely.from_wkb(row["geometry"])
        assert geometry.is_valid
        found[row["id"]] = shapely.contains_xy(geometry, 500_000 + xs * PIXEL, 4_000_000 - ys * PIXEL)
        assert found[row["id"]].sum() == row["pixels"]
        assert geometry.area == row["pixels"] * PIXEL**2
    return found


def assert_objects(rows: list[dict], owners: np.ndarray, code: int = NUCLEUS) -> None:
    """Each owner is one feature with exactly its pixels."""
    pixels = covered([row for row in rows if row["class_code"] == code], owners.shape)
    expected = {(owners == seed).tobytes() for seed in np.unique(owners[owners > 0])}
    assert len(pixels) == len(expected)
    assert {found.tobytes() for found in pixels.values()} == expected


@FEWER
@given(
    codes=rasters(),
    connectivity=st.sampled_from([4, 8]),
    side=st.integers(2, 13),
    reach=st.integers(1, 4),
    least=st.sampled_from([0, 4]),
)
def test_objects_are_those_of_the_whole_array(
    tmp_path_factory, class_raster, connectivity, codes, side, reach, least
):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    rules = (ObjectRule(str(NUCLEUS), str(BORDER), reach, min_pixels=least),)
    options = {"connectivity": connectivity, "objects": rules, "vector_tile": max(side, reach)}
    tiled, rows, notes = rows_of(raster, folder / "out.parquet", **options)
    seeds = seeds_of(codes == NUCLEUS, connectivity)
    owners = given_to_nearest(seeds, codes == BORDER, reach)
    far = ((codes == BORDER) & (owners == 0)).sum()
    assert_objects(rows, np.where(np.bincount(owners.ravel())[owners] < least, 0, owners))
    assert {row["class_code"] for row in rows} <= {NUCLEUS, OTHER}, "a border has no piece of its own"
    empty = [not (codes == code).any() for code in (NUCLEUS, BORDER)]
    told = [str(far)] * bool(far) + ["no"] * sum(empty) + ["objects"] * bool(least)
    assert [note.split()[0] for note in notes] == told
    if side % 2:
        whole, *_ = rows_of(raster, folder / "out.parquet", **{**options, "vector_tile": 64})
        assert tiled == whole


@FEWER
@given(codes=rasters(9, (0, NUCLEUS, BORDER, OTHER)), side=st.integers(2, 10))
def test_two_classes_share_a_border(tmp_path_factory, class_raster, codes, side):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    rules = tuple(ObjectRule(str(code), str(BORDER), 2) for code in (NUCLEUS, OTHER))
    _, rows, _ = rows_of(raster, folder / "out.parquet", objects=rules, vector_tile=side)
    seeds = {code: seeds_of(codes == code, 4) for code in (NUCLEUS, OTHER)}
    owners = given_to_nearest(seeds[NUCLEUS] + seeds[OTHER], codes == BORDER, 2)
    for code in (NUCLEUS, OTHER):
        of_code = np.isin(owners, seeds[code][seeds[code] > 0])
        assert_objects(rows, np.where(of_code, owners, 0), code)


def test_rules_may_have_different_reaches(tmp_path, class_raster):
    codes = np.random.default_rng(4).choice(
        [0, NUCLEUS, BORDER, OTHER, 4], (40, 44), p=[0.3, 0.1, 0.3, 0.1, 0.2]
    )
    raster = class_raster(tmp_path / "classes.tif", codes.astype(np.uint8))
    rules = (ObjectRule(str(NUCLEUS), str(BORDER), 6), ObjectRule(str(OTHER), "4", 1), ObjectRule("0"))
    found = []
    for side in (64, 6, 13):
        options = PolygonizeOptions(objects=rules, vector_tile=side)
        polygonize(raster, [tmp_path / "out.parquet"], options)
        found.append((tmp_path / "out.parquet").read_bytes())
    assert found[0] == found[1] == found[2]


def middles_of(member: np.ndarray, reach: int, depth: float, connectivity: int) -> np.ndarray:
    """The rule of `pipeline/vectors/objects/middles.py`, pixel by pixel, from scipy's distances."""
    square = np.full(member.shape, reach**2)
    if not member.all():
        exact = scipy.ndimage.distance_transform_edt(member)
        square = np.minimum(np.rint(exact**2).astype(int), reach**2)
    weights = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    height = scipy.ndimage.convolve(np.floor(256 * np.sqrt(square)).astype(int), weights, mode="nearest")
    fall = max(1, round(depth * 4096))
    steps = [
        (y, x) for y, x in product((-1, 0, 1), repeat=2) if (y or x) and (connectivity == 8 or not (y and x))
    ]

    def around(pixel: tuple[int, int]) -> list[tuple[int, int]]:
        found = [(pixel[0] + y, pixel[1] + x) for y, x in steps]
        return [
            (y, x) for y, x in found if 0 <= y < len(member) and 0 <= x < member.shape[1] and member[y, x]
        ]

    levels: dict[tuple[int, int], int] = {}
    for top in zip(*np.nonzero(member), strict=True):
        seen, edge = {top}, {top}
        for _ in range(reach):
            edge = {n for p in edge for n in around(p) if height[n] > height[top] - fall} - seen
            seen |= edge
        if max(height[p] for p in seen) == height[top]:
            levels[top] = int(height[top]) - fall
    for _ in range(reach):
        before = dict(levels)
        for pixel, level in before.items():
            for n in around(pixel):
                if height[n] > level > levels.get(n, -(10**9)):
                    levels[n] = level
    seeds = np.zeros(member.shape, dtype=bool)
    for pixel in levels:
        seeds[pixel] = True
    far = given_to_nearest(seeds.astype(int), member & ~seeds, reach) == 0
    return seeds | (member & far)


@FEWER
@given(
    connectivity=st.sampled_from([4, 8]),
    codes=rasters(16, (0, NUCLEUS, NUCLEUS, NUCLEUS, NUCLEUS, OTHER)),
    side=st.integers(3, 9),
    reach=st.integers(1, 3),
    depth=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_objects_by_distance_are_those_of_the_whole_array(
    tmp_path_factory, class_raster, connectivity, codes, side, reach, depth
):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes)
    rules = (ObjectRule(str(NUCLEUS), None, reach, "distance", depth),)
    options = {"connectivity": connectivity, "objects": rules, "vector_tile": side}
    _, rows, notes = rows_of(raster, folder / "out.parquet", **options)
    member = codes == NUCLEUS
    seeds = seeds_of(middles_of(member, reach, depth, connectivity), connectivity)
    owners = given_to_nearest(seeds, member & (seeds == 0), reach)
    assert ((owners > 0) == member).all(), "every pixel of the class has an object"
    assert_objects(rows, owners)
    assert len(notes) == (not member.any())


def test_discs_that_touch_are_separated_by_distance(tmp_path, class_raster):
    ys, xs = np.mgrid[:60, :120]
    middles = [(30, 20), (30, 44), (30, 68), (20, 100)]
    codes = np.zeros((60, 120), np.uint8)
    for y, x in middles:
        codes[(ys - y) ** 2 + (xs - x) ** 2 <= 13**2] = NUCLEUS
    raster = class_raster(tmp_path / "classes.tif", codes)
    rules = (ObjectRule(str(NUCLEUS), None, 16, "distance"),)
    _, rows, _ = rows_of(raster, tmp_path / "out.parquet", objects=rules, vector_tile=32)
    pixels = covered(rows, codes.shape)
    assert len(rows) == 4
    for y, x in middles:
        assert sum(found[y, x] for found in pixels.values()) == 1


def test_simplified_objects_share_their_borders(tmp_path, class_raster):
    ys, xs = np.mgrid[:90, :140]
    codes = np.zeros((90, 140), np.uint8)
    for y, x in [(30, 30), (34, 62), (60, 45), (55, 90), (30, 110)]:
        distance = np.hypot(ys - y, xs - x)
        codes[(distance <= 20) & (codes == 0)] = BORDER
        codes[distance <= 15] = NUCLEUS
    raster = class_raster(tmp_path / "classes.tif", codes)
    rules = (ObjectRule(str(NUCLEUS), str(BORDER), 8),)
    one, exact, _ = rows_of(raster, tmp_path / "exact.parquet", objects=rules, vector_tile=50)
    two, _, _ = rows_of(raster, tmp_path / "two.parquet", workers=2, objects=rules, vector_tile=50)
    assert one == two
    assert max(row["neighbours"] for row in exact) >= 2
    _, rows, _ = rows_of(raster, tmp_path / "simple.parquet", objects=rules, vector_tile=50, simplify=1.5)
    assert {row["id"] for row in rows} == {row["id"] for row in exact}
    shapes = shapely.from_wkb([row["geometry"] for row in rows])
    assert shapely.coverage_is_valid(shapes)
    assert shapely.union_all(shapes).area == pytest.approx(shapely.area(shapes).sum(), rel=1e-9)
