"""Classes merged, renamed, recoloured: one map at the run, at an export and of polygons, equal to a table of NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import nibabel
import numpy as np
import pytest
import rasterio
import zarr

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.reclass import check_codes_of_run, positions_of, reclass_of
from segment_tiles.pipeline.outputs.stores.store import open_store, read_class_table
from segment_tiles.pipeline.sources.rasters.masks import virtual_document
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.options.reclass_file import read_targets
from segment_tiles.workflows.polygons.request import polygonize_as_asked
from segment_tiles.workflows.results.formats.format import FormatOptions, Subject
from segment_tiles.workflows.results.formats.medical import DICOM_SEG
from segment_tiles.workflows.run.export import export_run
from segment_tiles.workflows.scenes.rasters.areas import class_areas

Run = Callable[..., Path]
MERGED = """
land: {from: [other, tree], color: "#00aa00", code: 7}
lake: water
"""
LOOKED_UP = {0: 7, 1: 7, 2: 2, 255: 255}


def looked_up(codes: np.ndarray, table: dict[int, int] = LOOKED_UP) -> np.ndarray:
    """Return codes by a table that this test has alone."""
    out = np.zeros_like(codes)
    for before, after in table.items():
        out[codes == before] = after
    return out


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    path = tmp_path / "merged.yaml"
    path.write_text(MERGED)
    return path


def test_a_run_with_other_classes_is_the_table_of_the_run_without(
    scored: Path, run_blobs: Run, merged: Path, tmp_path: Path
) -> None:
    made = run_blobs(
        tmp_path / "run", reclass=merged, format="cog,parquet,scores", scores=True, preview=True, item=True
    )
    before, after = (zarr.open_group(folder / "classes.zarr", mode="r") for folder in (scored, made))
    assert np.array_equal(after["classes"][:], looked_up(before["classes"][:]))
    for name in ("confidence", "scores"):
        assert np.array_equal(after[name][:], before[name][:])
    table = read_class_table(open_store(made / "classes.zarr"))
    assert [(c.code, c.name, c.color) for c in table.classes] == [
        (2, "lake", (0, 0, 255)),
        (7, "land", (0, 170, 0)),
    ]
    with rasterio.open(made / "classes.tif") as dataset:
        assert np.array_equal(dataset.read(1), after["classes"][:])
        assert dataset.colormap(1)[7] == (0, 170, 0, 255)
        names = [entry.text for entry in virtual_document(dataset).iter("Category")]
    assert [name or "" for name in names] == ["", "", "lake", "", "", "", "", "land"]
    with rasterio.open(made / "scores.tif") as dataset:
        assert dataset.descriptions == ("other", "tree", "water")
    report, old = (json.loads((folder / "report.json").read_text()) for folder in (made, scored))
    pixels = {entry["name"]: entry["pixels"] for entry in report["classes"]}
    areas = {entry["name"]: entry["area"] for entry in report["classes"]}
    assert pixels == {
        "lake": old["classes"][2]["pixels"],
        "land": sum(e["pixels"] for e in old["classes"][:2]),
    }
    assert areas["land"] == pytest.approx(sum(entry["area"] for entry in old["classes"][:2]))
    assert report["settings"]["--reclass"]["codes"] == [[0, 7], [1, 7], [2, 2]]
    polygons = geopandas.read_parquet(made / "polygons.parquet")
    assert {*zip(polygons["class_code"], polygons["class_name"], polygons["color"], strict=True)} == {
        (2, "lake", "#0000ff"), (7, "land", "#00aa00"),
    }  # fmt: skip
    item = json.loads((made / "item.json").read_text())
    assert [c["value"] for c in item["assets"]["classes"]["classification:classes"]] == [2, 7, 255]


def test_an_export_and_polygonize_give_the_bytes_of_the_run(
    scored: Path, run_blobs: Run, merged: Path, tmp_path: Path
) -> None:
    made = run_blobs(tmp_path / "run", reclass=merged, format="cog,parquet")
    assert (
        run_command_line(["export", str(scored), "--format", "cog,parquet,scores", "--reclass", str(merged)])
        == 0
    )
    for name in ("classes.tif", "classes.tif.aux.xml", "classes.qml", "polygons.parquet", "polygons.qml"):
        assert (scored / name).read_bytes() == (made / name).read_bytes(), name
    config = polygonize_config_from(
        raster=str(scored / "classes.zarr"), out=[tmp_path / "alone/polygons.parquet"], reclass=merged
    )
    polygonize_as_asked(config)
    assert (tmp_path / "alone/polygons.parquet").read_bytes() == (made / "polygons.parquet").read_bytes()
    # the store, and what the run says of it, stay
    assert read_class_table(open_store(scored / "classes.zarr")).names == ("other", "tree", "water")
    report = json.loads((scored / "report.json").read_text())
    assert [entry["name"] for entry in report["classes"]] == ["other", "tree", "water"]
    assert sorted(report["made_with"]) == ["cog", "parquet"]
    assets = json.loads((scored / "item.json").read_text())["assets"]
    counts = {c["title"]: c.get("count") for c in assets["classes"]["classification:classes"]}
    assert counts["land"] == sum(entry["pixels"] for entry in report["classes"][:2])
    assert [c["title"] for c in assets["classes-zarr"]["classification:classes"]][:2] == ["other", "tree"]
    assert not list((scored / ".segment-tiles").glob("reclassed*"))
    # and what is asked for without is made anew without
    run_blobs(scored, scores=True, format="cog", item=True)
    with rasterio.open(scored / "classes.tif") as dataset:
        assert np.array_equal(
            dataset.read(1), zarr.open_group(scored / "classes.zarr", mode="r")["classes"][:]
        )


def test_a_run_that_was_begun_with_other_classes_is_refused(
    run_blobs: Run, merged: Path, tmp_path: Path
) -> None:
    out = run_blobs(tmp_path / "run", format="zarr")
    with pytest.raises(SegmentTilesError, match=r"another setting: --reclass was None, is now"):
        run_blobs(out, format="zarr", reclass=merged)


def test_a_foreign_raster_is_renumbered_beyond_its_type(tmp_path: Path, merged: Path) -> None:
    codes = np.repeat(np.array([[1, 2, 3, 9]], np.uint8), 8, axis=0)
    with rasterio.open(
        tmp_path / "codes.tif", "w", driver="GTiff", width=4, height=8, count=1, dtype="uint8", nodata=9,
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 9, 0, -1, 9),
    ) as file:  # fmt: skip
        file.write(codes, 1)

    def polygons(text: str) -> dict[int, tuple[str, int]]:
        merged.write_text(text)
        out = tmp_path / "a.parquet"
        polygonize_as_asked(
            polygonize_config_from(raster=str(tmp_path / "codes.tif"), out=[out], reclass=merged)
        )
        frame = geopandas.read_parquet(out)
        return {row.class_code: (row.class_name, row.pixels) for row in frame.itertuples()}

    assert polygons("a: {from: [1, 3], code: 300}") == {2: ("class 2", 8)} | {300: ("a", 8)}
    assert polygons("a: {from: 1, code: 9}") == {9: ("a", 8), 2: ("class 2", 8), 3: ("class 3", 8)}
    assert polygons("a: 1\nb: {from: [2]}") == {1: ("a", 8), 2: ("b", 8), 3: ("class 3", 8)}
    with pytest.raises(SegmentTilesError, match="gives the code 3, which the raster has already"):
        polygons("a: {from: 1, code: 3}")
    with pytest.raises(UsageError, match="9 is the nodata value of the raster, which stays"):
        polygons("a: 9")


def test_the_three_grammars_say_the_same(tmp_path: Path, merged: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"land": {"from": ["other", "tree"], "color": [0, 170, 0], "code": 7}, "lake": "water"})
    )
    (tmp_path / "a.csv").write_text("from,to,color,code\nother,land,#00aa00,7\ntree,land,,\nwater,lake,,\n")
    assert read_targets(merged) == read_targets(tmp_path / "a.json") == read_targets(tmp_path / "a.csv")


WRONG = {
    "no file": (None, r"cannot be read: No such file"),
    "a list": ("- a\n- b", r"names no class; give a mapping"),
    "broken": ("a: [b", r"is not YAML"),
    "twice": ("a: other\na: tree", r"'a' is there twice"),
    "twice, with a space": ("a: other\n'a ': tree", r"'a' is there twice"),
    "a key twice": ("a: {from: other, code: 3, code: 4}", r"'a' has the key code twice; keep one"),
    "no name": ("' ': tree", r"a class without a name; give it one"),
    "a list as a name": ("[a, b]: tree", r"a class whose name is a list"),
    "another key": ("a: {form: other}", r"'a' has the key 'form'; known are from, color, code"),
    "a class that is not there": ("a: sand", r"made of 'sand', which model small has not; .*other, tree, water"),
    "two targets with one code": (
        "a: {from: other, code: 5}\nb: {from: tree, code: 5}", r"'a' and 'b' both have the code 5; give one another",
    ),
    "a code that stays": ("a: {from: other, code: 2}", r"'a' has the code 2, which 'water' keeps"),
    "a class that goes two ways": ("a: [other, tree]\nb: tree", r"'tree' becomes two classes"),
    "a name that stays": ("water: tree", r"two classes are called 'water'"),
    "a colour that is none": ("a: {from: tree, color: greenish}", r"the color of 'a' is 'greenish'; give \"#rrggbb\""),
    "a colour out of range": ("a: {from: tree, color: [0, 0, 256]}", r"the color of 'a' is \[0, 0, 256\]"),
    "a code below 0": ("a: {from: tree, code: -1}", r"the code of 'a' is -1; give a whole number"),
    "a code that no map holds": ("a: {from: tree, code: 70000}", r"the code 70000; codes are from 0 to 65534"),
    "nothing to make it of": ("a: {from: []}", r"'a' is made of \[\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_what_is_accepted(case: str, tmp_path: Path) -> None:
    text, words = WRONG[case]
    path = tmp_path / "wrong.yaml"
    if text is not None:
        path.write_text(text)
    classes = [MapClass(i, name, (i, i, i)) for i, name in enumerate(("other", "tree", "water"))]
    with pytest.raises(UsageError, match=words) as refusal:
        check_codes_of_run(reclass_of(read_targets(path), classes, "model small"))
    assert "\n" not in str(refusal.value)
    assert "--reclass" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from,to\ntree", "a row with other columns"),
        ("from,into\ntree,a", "has the columns from, into; give from, to"),
        ("from,to,code\ntree,a,1\nother,a,2", "'a' has the code 1 and 2; give it one"),
        ("from,to,code\ntree,a,one", "the code of 'a' is 'one'"),
        ("from,to\n", "names no class"),
        ("from,to,to\ntree,a,b", "has the columns from, to, to; give from, to"),
        ('{"a": {"from": "other", "code": 3, "code": 4}}', "'a' has the key code twice"),
        ('{"a": "other", "a": "tree"}', "'a' is there twice"),
        ('{"": "other"}', "a class without a name"),
        ("[1]", "names no class"),
    ],
)
def test_a_table_that_cannot_be_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / ("wrong.json" if text[0] in "{[" else "wrong.csv")
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_targets(path)


def test_export_and_polygonize_refuse_as_a_run_does(
    scored: Path, tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / "wrong.yaml").write_text("a: sand")
    before = sorted(tmp_path.rglob("*"))
    option = ["--reclass", str(tmp_path / "wrong.yaml")]
    refused(["export", str(scored), "--format", "cog", *option], "'sand', which the run has not")
    refused(
        ["polygonize", str(scored), "--out", str(tmp_path / "a.gpkg"), *option],
        "'sand', which the raster has not",
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("axis", ["axial", pytest.param("all", marks=pytest.mark.slow)])
def test_a_volume_is_looked_up_slice_by_slice(
    axis: str,
    grey_model: Path,
    run_on: Callable[..., dict[str, Any]],
    scan: Callable[..., Any],
    tmp_path: Path,
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan((24, 20, 5)), np.eye(4)), tmp_path / "scan.nii.gz")
    path = tmp_path / "merged.json"
    path.write_text(json.dumps({"land": {"from": ["other", "tree"], "code": 7}}))
    settings: dict[str, Any] = {"axis": axis, "formats": ("zarr", "nifti")}
    old = run_on(tmp_path / "scan.nii.gz", grey_model, tmp_path / "without", **settings)
    new = run_on(tmp_path / "scan.nii.gz", grey_model, tmp_path / "with", reclass=path, **settings)
    before, after = (
        zarr.open_group(tmp_path / name / "classes.zarr", mode="r") for name in ("without", "with")
    )
    assert len(np.unique(before["classes"][:])) == 3
    assert np.array_equal(after["classes"][:], looked_up(before["classes"][:]))
    assert np.array_equal(after["confidence"][:], before["confidence"][:])
    assert [entry["voxels"] for entry in new["classes"]] == [
        old["classes"][2]["voxels"], old["classes"][0]["voxels"] + old["classes"][1]["voxels"],
    ]  # fmt: skip
    export_run(tmp_path / "without", ("nifti",), reclass=path)
    exported, made = (nibabel.load(tmp_path / name / "classes.nii.gz") for name in ("without", "with"))
    assert np.array_equal(np.asarray(exported.dataobj), np.asarray(made.dataobj))
    assert set(np.unique(np.asarray(made.dataobj))) == {2, 7}


def test_areas_counted_again_in_cells_know_codes_with_gaps() -> None:
    georef = GeoRef((0.1, 0.0, 10.0, 0.0, -0.1, 60.0), rasterio.CRS.from_epsg(4326).to_wkt())
    codes = np.random.default_rng(2).integers(0, 3, (90, 120)).astype(np.uint8)
    codes[:20, :20] = 255
    counts = tuple(int((codes == code).sum()) for code in (0, 1, 2, 255))
    dense = class_areas({(0, 0): counts}, codes.shape, georef, lambda window: codes[window.slices()])
    table = ClassTable(tuple(MapClass(code, str(code), (0, 0, code)) for code in (4, 11, 200)))
    gaps = looked_up(codes, {0: 4, 1: 11, 2: 200, 255: 255})
    found = class_areas(
        {(0, 0): counts}, codes.shape, georef, lambda window: positions_of(table, gaps[window.slices()])
    )
    assert found == dense


def test_dicom_seg_of_codes_with_gaps_says_which_it_wants() -> None:
    table = ClassTable((MapClass(0, "a", (0, 0, 0)), MapClass(3, "b", (1, 1, 1))))
    subject = Subject("a", "slide", GeoRef.of_pixels(), (9, 9), True, (), table, "m", FormatOptions())
    with pytest.raises(
        UsageError, match=r"the codes 0, 3; give them the codes 0 to 1 in the file of --reclass"
    ):
        DICOM_SEG.check(subject)
