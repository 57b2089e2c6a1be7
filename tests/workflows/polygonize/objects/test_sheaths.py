"""Sheaths of objects, such as the myelin of axons: those of the whole array by SciPy, for every tiling and worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.classes import MapClass, Target
from segment_tiles.pipeline.grid.objects import ObjectRule, rules_json, rules_of_json
from segment_tiles.pipeline.grid.reclass import reclass_of
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.options.polygons import rule_of_text
from segment_tiles.workflows.polygons import objects
from segment_tiles.workflows.polygons import polygonize as workflow
from segment_tiles.workflows.polygons.polygonize import polygonize

AXON, MYELIN, OTHER, NODATA = 1, 2, 3, 9
PIXEL = 0.5
RULE = ObjectRule(str(AXON), reach=4, sheath=str(MYELIN))
SHEATH_COLUMNS = ["axon_diameter_m", "fibre_diameter_m", "myelin_thickness_m", "g_ratio"]
FEWER = settings(max_examples=max(6, settings().max_examples // 4))
"""Each example is polygonised as a file."""


def rasters(most: int = 12):
    values = st.sampled_from((0, AXON, AXON, MYELIN, MYELIN, MYELIN, OTHER, NODATA))
    shapes = st.tuples(st.integers(1, most), st.integers(1, most))
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=values))


def fibres_of(codes: np.ndarray, reach: int, connectivity: int, least: int = 0) -> list[tuple[int, int]]:
    """Return pixels of axon and of myelin, of each axon in the order of first pixels, from distances of SciPy.

    The labels of SciPy are in this order, so the first smallest distance is that of the axon that begins first.
    """
    labels, count = scipy.ndimage.label(codes == AXON, np.ones((3, 3)) if connectivity == 8 else None)
    pieces = [labels == n for n in range(1, count + 1)]
    pieces = [piece for piece in pieces if piece.sum() >= least]
    if not pieces:
        return []
    squares = [np.rint(scipy.ndimage.distance_transform_edt(~piece) ** 2) for piece in pieces]
    nearest, distance = np.argmin(squares, axis=0), np.min(squares, axis=0)
    given = (codes == MYELIN) & (distance <= reach**2)
    return [(int(piece.sum()), int((given & (nearest == n)).sum())) for n, piece in enumerate(pieces)]


def fibres_in(path: Path) -> list[tuple[int, int]]:
    """Return the same of a table of objects, whose columns must agree with each other."""
    found = []
    for row in sorted(pq.read_table(path).to_pylist(), key=lambda row: row["object"]):
        axon, fibre, thickness, ratio = (row[name] for name in SHEATH_COLUMNS)
        assert axon == row["equivalent_diameter_m"] == pytest.approx(2 * np.sqrt(row["area_m2"] / np.pi))
        assert ratio == pytest.approx(axon / fibre, rel=1e-12)
        assert thickness == pytest.approx((fibre - axon) / 2, abs=1e-9)
        pixels = np.pi * fibre**2 / 4 * (row["pixels"] / row["area_m2"])
        assert pixels == pytest.approx(row["pixels"] / ratio**2)
        found.append((row["pixels"], round(pixels) - row["pixels"]))
    return found


def made(raster: Path, out: Path, workers: int = 1, **options: Any) -> tuple[str, ...]:
    return polygonize(raster, [out], PolygonizeOptions(background="0", **options), workers=workers).notes


@FEWER
@given(
    codes=rasters(),
    connectivity=st.sampled_from([4, 8]),
    side=st.integers(2, 13),
    reach=st.integers(1, 5),
    least=st.sampled_from([0, 3]),
)
def test_sheaths_are_those_of_the_whole_array(
    tmp_path_factory, class_raster, connectivity, codes, side, reach, least
):
    folder = tmp_path_factory.mktemp("law")
    raster = class_raster(folder / "classes.tif", codes, crs="EPSG:32612")
    rules = (ObjectRule(str(AXON), reach=reach, sheath=str(MYELIN), min_pixels=least),)
    options = {"objects": rules, "connectivity": connectivity, "vector_tile": max(side, reach)}
    notes = made(raster, folder / "tiled.objects.parquet", **options)
    expected = fibres_of(codes, reach, connectivity, least)
    assert fibres_in(folder / "tiled.objects.parquet") == expected
    far = (codes == MYELIN).sum() - sum(sheath for _, sheath in expected)
    assert any(note.startswith(f"{far} pixels of") for note in notes) == bool(far)
    assert any("no object has a sheath" in note for note in notes) == (not (codes == MYELIN).any())
    whole = {**options, "vector_tile": 64}
    made(raster, folder / "whole.objects.parquet", **whole)
    tiled, at_once = ((folder / f"{name}.objects.parquet").read_bytes() for name in ("tiled", "whole"))
    assert tiled == at_once


@pytest.fixture(scope="module")
def fibres() -> np.ndarray:
    """Rings that touch, some without an axon, a bare axon, and specks of axon in the myelin."""
    ys, xs = np.mgrid[:120, :150]
    codes = np.zeros((120, 150), np.uint8)
    generator = np.random.default_rng(11)
    for y, x in generator.integers(0, 150, (60, 2)):
        outer = generator.uniform(5, 11)
        distance = np.hypot(ys - y, xs - x)
        codes[(distance <= outer) & (codes != AXON)] = MYELIN
        codes[distance <= outer * generator.choice([0.0, 0.5, 0.7])] = AXON
    ring = np.argwhere(codes == MYELIN)
    codes[tuple(ring[generator.integers(0, len(ring), 30)].T)] = AXON
    codes[100:, :20] = 0
    codes[110:114, 6:10] = AXON
    codes[50:60, 60:75] = NODATA
    codes[:20, :20] = OTHER
    return codes


@pytest.mark.slow  # quick ones: the other laws here, and test_object_laws.py for tiles
def test_workers_and_tiles_change_no_byte(fibres: np.ndarray, class_raster, tmp_path: Path) -> None:
    raster = class_raster(tmp_path / "classes.tif", fibres, crs="EPSG:32612")
    rule = ObjectRule(str(AXON), reach=6, sheath=str(MYELIN), min_pixels=4)
    found = []
    for workers, side in ((1, 200), (2, 31), (1, 6)):
        out = tmp_path / f"{side}.objects.parquet"
        made(raster, out, workers, objects=(rule,), vector_tile=side)
        found.append(out.read_bytes())
    assert found[0] == found[1] == found[2]
    expected = fibres_of(fibres, 6, 4, least=4)
    assert fibres_in(tmp_path / "6.objects.parquet") == expected
    assert (16, 0) in expected, "an axon without myelin"
    assert len(expected) < len(fibres_of(fibres, 6, 4)), "specks are left out, and take no myelin"


def test_axons_stay_what_they_are_and_myelin_stays_a_class(
    fibres: np.ndarray, class_raster, tmp_path: Path
) -> None:
    raster = class_raster(tmp_path / "classes.tif", fibres, crs="EPSG:32612")
    plain = ObjectRule(str(AXON))
    both = []
    for rule in (plain, RULE):
        made(raster, tmp_path / "a.parquet", objects=(rule, ObjectRule(str(OTHER))), vector_tile=40)
        both.append(pq.read_table(tmp_path / "a.parquet").to_pylist())
    without, measured = both
    axons = 0
    for before, after in zip(without, measured, strict=True):
        assert {name: after[name] for name in before} == before
        found = [after[name] for name in SHEATH_COLUMNS]
        axons += after["class_code"] == AXON
        assert all(value is None for value in found) == (after["class_code"] != AXON)
    assert axons > 10
    assert {row["class_code"] for row in measured} == {AXON, MYELIN, OTHER}


def test_two_classes_share_a_sheath(fibres: np.ndarray, class_raster, tmp_path: Path) -> None:
    split = fibres.copy()
    labels, count = scipy.ndimage.label(fibres == AXON)
    split[np.isin(labels, np.arange(1, count + 1, 2))] = 4
    split[split == OTHER] = 0
    joint = np.where(fibres == OTHER, 0, fibres)
    rules = tuple(ObjectRule(str(code), reach=5, sheath=str(MYELIN)) for code in (AXON, 4))
    raster = class_raster(tmp_path / "split.tif", split, crs="EPSG:32612")
    made(raster, tmp_path / "split.objects.parquet", objects=rules, vector_tile=25)
    assert fibres_in(tmp_path / "split.objects.parquet") == fibres_of(joint, 5, 4)


def test_other_formats_have_the_columns_too(fibres: np.ndarray, class_raster, tmp_path: Path) -> None:
    raster = class_raster(tmp_path / "classes.tif", fibres, crs=None, transform=None)
    names = ("a.objects.parquet", "a.qupath.geojson", "a.shp")
    options = PolygonizeOptions(objects=(RULE,), background="0", vector_tile=50)
    polygonize(raster, [tmp_path / name for name in names], options)
    table = {row["object"]: row for row in pq.read_table(tmp_path / names[0]).to_pylist()}
    features = json.loads((tmp_path / names[1]).read_text())["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    detections = [entry for entry in measured if "Object" in entry]
    assert len(detections) == len(table)
    for entry in detections:
        row = table[entry["Object"]]
        assert entry["g-ratio"] == row["g_ratio"]
        for column, name in (("axon", "Axon"), ("fibre", "Fibre")):
            assert entry[f"{name} diameter px"] == row[f"{column}_diameter_px"]
        assert entry["Myelin thickness px"] == row["myelin_thickness_px"]
    import pyogrio  # noqa: PLC0415

    assert {"axon_px", "fibre_px", "myelin_px", "g_ratio"} <= set(
        pyogrio.read_info(tmp_path / names[2])["fields"]
    )


def test_sheaths_that_are_found_are_not_found_again_unless_their_file_is_damaged(
    fibres: np.ndarray, class_raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raster = class_raster(tmp_path / "classes.tif", fibres, crs="EPSG:32612")
    options = {"objects": (RULE,), "vector_tile": 60}
    wanted, out = tmp_path / "wanted.objects.parquet", tmp_path / "out.objects.parquet"
    made(raster, wanted, **options)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for worker, is_damaged in ((killed, False), (objects.ObjectWorker, True)):
        with monkeypatch.context() as patched:
            patched.setattr(workflow, "write_files", killed)
            with pytest.raises(KeyboardInterrupt):
                made(raster, out, **options)
        file = tmp_path / f".{out.name}.tiles" / "sheaths.npy"
        if is_damaged:
            file.write_bytes(file.read_bytes()[:-8] + b"\0" * 8)
        with monkeypatch.context() as patched:
            patched.setattr(objects, "ObjectWorker", worker)
            made(raster, out, **options)
        assert out.read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"sheath": "2"}, "a reach of 0 px; it must be 1 to 1024"),
        ({"sheath": "1", "reach": 3}, "the same class as sheath; name another"),
        ({"sheath": "2", "border": "3", "reach": 3}, "the sheath '2' and a border, or are split; give one"),
        ({"sheath": "2", "split_by": "distance", "reach": 3}, "the sheath '2' and a border, or are split; give one"),
    ],
)  # fmt: skip
def test_rules_that_contradict_themselves_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(SegmentTilesError, match=message):
        ObjectRule("1", **rule)


def test_a_sheath_that_does_not_fit_is_refused(fibres: np.ndarray, class_raster, tmp_path: Path) -> None:
    raster = class_raster(tmp_path / "classes.tif", fibres)
    out = tmp_path / "a.objects.parquet"
    assert rule_of_text("1:sheath=2:4px") == RULE
    for text in ("1:sheath=:4", "1:sheath=2:far", "1:sheath=2"):
        with pytest.raises(SegmentTilesError, match="CLASS:sheath=SHEATH:REACH"):
            rule_of_text(text)
    with pytest.raises(SegmentTilesError, match="class 'myelin' is not in the raster"):
        made(raster, out, objects=(ObjectRule("1", reach=3, sheath="myelin"),))
    with pytest.raises(SegmentTilesError, match="a reach of 40 px, but vector tiles a side of 32 px"):
        made(raster, out, objects=(ObjectRule("1", reach=40, sheath="2"),), vector_tile=32)
    rules = tuple(ObjectRule(str(code), reach=code, sheath="2") for code in (1, 3))
    with pytest.raises(
        SegmentTilesError, match=r"with the sheath '2' have the reaches \[1, 3\]; give them one"
    ):
        made(raster, out, objects=rules)


def test_a_rule_is_taken_along_by_files_scales_and_reclasses() -> None:
    rule = ObjectRule("axon", reach=30, min_pixels=20, sheath="myelin")
    assert rules_json([rule]) == {"axon": {"sheath": "myelin", "reach": 30, "min_pixels": 20}}
    assert rules_of_json(rules_json([rule])) == (rule,)
    scaled = rule.scaled(0.5)
    assert (scaled.reach, scaled.min_pixels, scaled.sheath) == (15, 5, "myelin")
    classes = tuple(MapClass(code, name, (0, 0, 0)) for code, name in enumerate(("back", "myelin", "axon")))
    renamed = reclass_of([Target("nerve", ("axon",)), Target("coat", ("myelin",))], classes, "a map")
    (after,) = renamed.rules_after([rule], classes)
    assert (after.name, after.sheath, after.reach) == ("nerve", "coat", 30)
    merged = reclass_of([Target("fibre", ("axon", "myelin"))], classes, "a map")
    assert merged.rules_after([rule], classes) == ()
