"""Runs on slides: background is never computed, no seams, memory within the Plan, outputs that others open."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import shapely
import tifffile
import zarr
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Label, Multiscales, Reader
from skimage.data import immunohistochemistry

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.export import export_run
from segment_tiles.workflows.run.segment import segment
from segment_tiles.workflows.scenes.notice import NOTICE, notice_of
from segment_tiles.workflows.scenes.registry import open_scene

GLASS = (243, 241, 245)
SIDE = 512


class Told:
    """Listens to a run and remembers what was said."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        pass

    def planned(self, plan: object) -> None:
        pass

    def tiles(self, computed: int, skipped: int) -> None:
        pass


def stained(side: int) -> list[NDArray[np.uint8]]:
    """Glass, and real stain mirrored four ways, so that neighbours meet without an edge."""
    step = SIDE // side
    stain = (
        immunohistochemistry().reshape(side, step, side, step, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    )
    glass = np.broadcast_to(np.array(GLASS, np.uint8), stain.shape)
    return [glass, stain, stain[:, ::-1], stain[::-1], stain[::-1, ::-1]]


def write_slide(path: Path, tiles: int, mpp: float | None = 0.5) -> NDArray[np.bool_]:
    """Write a slide of tiles x tiles x 512 px with an ellipse of stain; return which of the tiles have it.

    Tiles are compressed once for each picture and written as bytes, so any size takes seconds.
    """
    rows, columns = np.indices((tiles, tiles))
    down, across = (2 * rows + 1) / tiles - 1, (2 * columns + 1) / tiles - 1
    tissue = (across / 0.7) ** 2 + (down / 0.5) ** 2 < 1
    kinds = np.where(tissue, 1 + columns % 2 + 2 * (rows % 2), 0)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, side in enumerate((512, 128, 32)):
            pictures, step = stained(side), 512 // side
            data: Iterator[bytes] | NDArray[np.uint8]
            if level == 0:
                packed = [zlib.compress(picture.tobytes(), 1) for picture in pictures]
                data = (packed[kind] for kind in kinds.ravel())
            else:
                data = np.concatenate([np.concatenate([pictures[k] for k in row], axis=1) for row in kinds])
            size = (
                {} if mpp is None else {"resolution": (1e4 / mpp / step,) * 2, "resolutionunit": "CENTIMETER"}
            )
            file.write(
                data, shape=(tiles * side, tiles * side, 3), dtype=np.uint8, tile=(SIDE, SIDE), metadata=None,
                photometric="rgb", compression="deflate", subfiletype=1 if level else 0, **size,
            )  # fmt: skip
    return tissue


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4096 x 4096 px at 0.5 micrometres, three levels."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    write_slide(path, 8)
    return path


@pytest.fixture(scope="module")
def model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, said to be trained at 1 micrometre per pixel."""
    folder = tmp_path_factory.mktemp("models") / "slides"
    shutil.copytree(small_model, folder)
    document = json.loads((folder / "model.json").read_text())
    (name,) = (key for key in document["properties"] if key.endswith("pixel_size"))
    document["properties"][name] = {"value": 1.0, "unit": "micrometer"}
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def config(slide: Path, model: Path, out: Path, **changes: Any) -> RunConfig:
    settings = {"tile": 256, "overlap": 0.125, "precision": "fp32", "device": "cpu", "formats": ("zarr",)}
    return RunConfig(str(slide), str(model), out, **{**settings, **changes})


@pytest.fixture(scope="module")
def tissue_run(slide: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slide at the model's pixel size, its tissue alone, in every format of slides."""
    out = tmp_path_factory.mktemp("tissue") / "out"
    segment(config(slide, model, out, formats=("zarr", "qupath", "ome-zarr", "ome-tiff")), Told())
    return out


def report_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


def test_background_is_never_computed_and_tissue_is_as_in_the_whole_run(
    tissue_run: Path, slide: Path, model: Path, tmp_path: Path
) -> None:
    segment(config(slide, model, tmp_path / "all", tissue="off"), Told())
    part, whole = (open_store(out / "classes.zarr") for out in (tissue_run, tmp_path / "all"))
    codes = part["classes"][:]
    inside = codes != 255
    np.testing.assert_array_equal(codes[inside], whole["classes"][:][inside])
    np.testing.assert_array_equal(part["confidence"][:][inside], whole["confidence"][:][inside])
    few, all_of_them = report_of(tissue_run)["tiles"], report_of(tmp_path / "all")["tiles"]
    assert few["planned"] == all_of_them["planned"] == all_of_them["computed"] == 81
    assert few["computed"] + few["skipped"] == 81
    assert few["computed"] < 50
    tiles = sum(
        inside[r * 224 : r * 224 + 256, c * 224 : c * 224 + 256].any() for r in range(9) for c in range(9)
    )
    assert few["computed"] == tiles, "exactly the tiles that see tissue"


def test_the_report_tells_of_resolution_tissue_and_area(tissue_run: Path) -> None:
    report = report_of(tissue_run)
    source = report["source"]
    assert (source["height"], source["width"]) == (2048, 2048)
    assert source["micrometers_per_pixel"] == {"full_resolution": [0.5, 0.5], "read": [1.0, 1.0]}
    assert source["levels"] == [[4096, 4096], [1024, 1024], [256, 256]]
    assert source["tissue"]["method"] == "otsu"
    assert 0.15 < source["tissue"]["share"] < 0.4
    assert report["area_unit"] == "mm2"
    for entry in report["classes"]:
        assert entry["area"] == pytest.approx(entry["pixels"] * 1e-6)
    assert report["notice"] == NOTICE
    assert any("of the slide is tissue" in text for text in report["warnings"])


def test_qupath_geojson_is_strict_and_in_full_resolution_pixels(tissue_run: Path) -> None:
    def refuse(name: str) -> float:
        raise ValueError(name)

    text = (tissue_run / "polygons.qupath.geojson").read_text()
    document = json.loads(text, parse_constant=refuse)
    codes = open_store(tissue_run / "classes.zarr")["classes"][:]
    names = {"other": 0, "tree": 1, "water": 2}
    pixels = dict.fromkeys(names, 0.0)
    assert len({uuid.UUID(feature["id"]) for feature in document["features"]}) == len(document["features"])
    for feature in document["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert feature["properties"]["objectType"] == "annotation"
        rings = [shape.exterior, *shape.interiors]
        assert all(ring.coords[0] == ring.coords[-1] for ring in rings)
        pixels[feature["properties"]["classification"]["name"]] += (
            shape.area / 4
        )  # 2 x 2 full-resolution pixels
        area = feature["properties"]["measurements"]["Area µm^2"]
        assert area == pytest.approx(shape.area * 0.25)
        # of the slide at full resolution, as QuPath measures it itself
        assert feature["properties"]["measurements"]["Area px^2"] == pytest.approx(shape.area)
    assert pixels == {name: (codes == code).sum() for name, code in names.items()}


def test_qupath_of_a_part_has_its_place_on_the_slide(slide: Path, model: Path, tmp_path: Path) -> None:
    roi = (1792.0, 1536.0, 2560.0, 2304.0)
    listener = Told()
    segment(config(slide, model, tmp_path, roi=roi, formats=("zarr", "qupath"), tissue="off"), listener)
    features = json.loads((tmp_path / "polygons.qupath.geojson").read_text())["features"]
    whole = shapely.union_all([shapely.geometry.shape(feature["geometry"]) for feature in features])
    assert whole.bounds == roi


def test_labels_are_ome_zarr_that_others_open(tissue_run: Path) -> None:
    path = tissue_run / "classes.ome.zarr"
    group = zarr.open_group(path, mode="r")
    model = ome_zarr_models.open_ome_zarr(group)
    assert "ImageLabel" in type(model).__name__
    (node,) = list(Reader(parse_url(path))())
    assert {type(spec) for spec in node.specs} >= {Label, Multiscales}
    assert [level.shape for level in node.data] == [(2048, 2048), (512, 512), (128, 128)]
    codes = open_store(tissue_run / "classes.zarr")["classes"][:]
    np.testing.assert_array_equal(np.asarray(node.data[0]), codes)
    assert np.isin(np.asarray(node.data[2]), codes).all(), "codes are never mixed"
    label = group.attrs["ome"]["image-label"]
    assert [c["label-value"] for c in label["colors"]] == [0, 1, 2, 255]
    assert [p["class"] for p in label["properties"]] == ["other", "tree", "water", "no data"]
    (image,) = group.attrs["ome"]["multiscales"]
    assert [axis["unit"] for axis in image["axes"]] == ["micrometer", "micrometer"]
    scales = [level["coordinateTransformations"][0]["scale"] for level in image["datasets"]]
    assert scales == [[1.0, 1.0], [4.0, 4.0], [16.0, 16.0]]
    moved = [level["coordinateTransformations"][1]["translation"] for level in image["datasets"]]
    assert moved == [[0.25, 0.25], [1.75, 1.75], [7.75, 7.75]]


def test_the_mask_is_a_pyramidal_ome_tiff_with_physical_size(tissue_run: Path) -> None:
    with tifffile.TiffFile(tissue_run / "classes.ome.tif") as file:
        (series,) = file.series
        assert [level.shape for level in series.levels] == [(2048, 2048), (512, 512), (128, 128)]
        assert series.levels[0].keyframe.is_tiled
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (1.0, "µm")
        np.testing.assert_array_equal(series.asarray(), open_store(tissue_run / "classes.zarr")["classes"][:])


def test_labels_go_inside_their_source_on_request(
    write_as: Callable[..., Path], small_model: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 300, 200), dtype=np.uint8)
    source = tmp_path / "image.zarr"
    shutil.copytree(write_as("ome-zarr-0.5", values, 0.5, 2, 4), source)
    out = tmp_path / "out"
    settings = {"formats": ("zarr", "ome-zarr"), "labels_inside": True, "tile": 64}
    segment(config(source, small_model, out, **settings), Told())
    labels = zarr.open_group(source / "labels", mode="r")
    assert labels.attrs["ome"] == {"version": "0.5", "labels": ["small"]}
    levels = [labels[f"small/{i}"].shape for i in range(3)]
    assert levels == [(300, 200), (150, 100), (75, 50)], "as many levels as the source, of its sizes"
    np.testing.assert_array_equal(labels["small/0"][:], open_store(out / "classes.zarr")["classes"][:])
    assert labels["small"].attrs["ome"]["image-label"]["source"] == {"image": "../../"}
    nodes = list(Reader(parse_url(source))())
    assert any(isinstance(spec, Label) for node in nodes for spec in node.specs)
    assert ome_zarr_models.open_ome_zarr(zarr.open_group(source, mode="r")).labels is not None
    assert (out / "classes.ome.zarr").resolve() == (source / "labels" / "small").resolve()
    export_run(out, ("zarr", "ome-zarr"))
    assert not (out / "classes.ome.zarr").is_symlink()
    assert zarr.open_group(out / "classes.ome.zarr", mode="r")["0"].shape == (300, 200)


@pytest.mark.parametrize("by", ["run", "export"])
def test_labels_beside_the_results_move_inside_their_source(
    write_as: Callable[..., Path],
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 96, 80), dtype=np.uint8)
    source, out = tmp_path / "image.zarr", tmp_path / "out"
    shutil.copytree(write_as("ome-zarr-0.5", values, 0.5), source)
    monkeypatch.chdir(tmp_path)
    segment(config(Path("image.zarr"), small_model, out, formats=("zarr", "ome-zarr")), Told())
    assert not (out / "classes.ome.zarr").is_symlink()
    if by == "export":
        monkeypatch.chdir("/")  # the source was given by a path from another folder
        export_run(out, ("ome-zarr",), labels_inside=True)
    asked = config(source, small_model, out, formats=("zarr", "ome-zarr"), labels_inside=True)
    assert segment(asked, Told()).was_finished == (by == "export")
    assert (out / "classes.ome.zarr").resolve() == (source / "labels" / "small").resolve()
    codes = zarr.open_group(source / "labels" / "small", mode="r")["0"][:]
    np.testing.assert_array_equal(codes, open_store(out / "classes.zarr")["classes"][:])
    assert segment(asked, Told()).was_finished


def test_polygons_of_tissue_are_in_full_resolution_pixels(slide: Path, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "tissue.geojson"
    ring = [[1000, 800], [1600, 800], [1600, 1200], [1000, 1200], [1000, 800]]
    feature = {
        "type": "Feature", "properties": {"objectType": "annotation"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }  # fmt: skip
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    segment(config(slide, model, tmp_path / "out", tissue=str(file)), Told())
    rows, columns = np.nonzero(open_store(tmp_path / "out" / "classes.zarr")["classes"][:] != 255)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (400, 600, 500, 800)
    tiles = report_of(tmp_path / "out")["tiles"]
    assert tiles["computed"] < 10


def test_the_models_pixel_size_is_read_unless_another_is_asked_for(slide: Path, model: Path) -> None:
    out = Path("unused")
    own = open_scene(config(slide, model, out, tissue="off"))
    assert (own.view.mpp, own.spec.height, own.warnings) == (1.0, 2048, ())
    level = open_scene(config(slide, model, out, tissue="off", level=0))
    assert (level.view.mpp, level.spec.height) == (None, 4096)
    assert "read at 0.5 micrometres per pixel, but model small was trained at 1" in level.warnings[0]
    other = open_scene(config(slide, model, out, tissue="off", mpp=2.0))
    assert (other.level, other.spec.height) == (1, 1024)
    wrong = open_scene(config(slide, model, out, tissue="off", source_mpp=0.25))
    assert wrong.spec.height == 1024
    assert len(wrong.warnings) == 1
    assert "says 0.5 micrometres per pixel; --source-mpp 0.25 is used instead" in wrong.warnings[0]


def test_a_result_may_lie_on_full_resolution(slide: Path, model: Path, quiet: Any, tmp_path: Path) -> None:
    codes = {}
    for grid in ("source", "model"):
        out = tmp_path / grid
        segment(config(slide, model, out, tissue="off", roi=(1000, 1200, 1700, 1603), grid=grid), quiet)
        codes[grid] = open_store(out / "classes.zarr")["classes"][:]
    assert codes["source"].shape == (403, 700)
    assert len(np.unique(codes["model"])) > 1
    np.testing.assert_array_equal(codes["source"], codes["model"].repeat(2, 0).repeat(2, 1)[:403])


def grey_and_colour(tmp_path: Path, write_as: Callable[..., Path]) -> dict[str, Path]:
    values = np.random.default_rng(0).integers(0, 255, (3, 96, 80), dtype=np.uint8)
    silent = tmp_path / "silent.zarr"
    shutil.copytree(write_as("ome-zarr-0.5", values, None), silent)
    return {
        "grey": write_as("ome-tiff", values[:1], 0.5),
        "colour": write_as("slide", values, 0.5),
        "silent": silent,
        "old": write_as("ome-zarr-0.4", values, 0.5),
        "stack": write_as("ome-zarr-0.5", values, 0.5),
    }


@pytest.mark.parametrize(
    ("which", "options", "words"),
    [
        ("silent", [], r"does not say how large its pixels are, and model small .* 1 micrometres .*--source-mpp"),
        ("colour", ["--mpp", "0"], r"--mpp is 0; it must be micrometres per pixel, above 0"),
        ("colour", ["--source-mpp", "nan"], r"--source-mpp is nan; it must be"),
        ("colour", ["--mpp", "1", "--level", "0"], r"--level 0 and --mpp 1 exclude each other"),
        ("colour", ["--level", "7"], r"has no level 7, only 0 to 0"),
        ("grey", [], r"1 band is read, but model small takes 3 \(red, green, blue\); choose them with --bands"),
        ("colour", ["--bands", "1"], r"1 band is read, but model small takes 3"),
        ("colour", ["--z", "2"], r"--z is 2, but .* has one plane only"),
        ("stack", ["--t", "1"], r"--t is 1, but .* has one only: leave out --t"),
        ("colour", ["--tissue", "nowhere.geojson"], r"--tissue is 'nowhere.geojson'; it must be auto, otsu, off"),
        ("grey", ["--tissue", "otsu", "--bands", "1,1,1"], r"--tissue otsu: .* no picture of red, green and blue"),
        ("old", ["--labels-inside", "--format", "ome-zarr"], r"--labels-inside: .* is no OME-Zarr 0.5 image"),
        ("colour", ["--labels-inside", "--format", "zarr"], r"--labels-inside .*; add ome-zarr to --format"),
        ("stack", ["--labels-inside", "--format", "ome-zarr"], r"--labels-inside: the class map has 48 x 40 "),
    ],
)  # fmt: skip
def test_bad_words_and_sources_end_in_one_line(
    which: str, options: list[str], words: str, model: Path, write_as: Callable[..., Path],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = grey_and_colour(tmp_path, write_as)[which]
    out = tmp_path / "out"
    status = run_command_line(["run", str(path), "--model", str(model), "--out", str(out), *options])
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if "warning:" not in line]
    assert status == 2, printed.err
    assert len(lines) == 1
    assert re.search(words, lines[0]), lines[0]
    assert not (out / "report.json").exists()


def test_only_medical_images_have_the_notice(
    aerial_crop: Path, slide: Path, small_model: Path, model: Path
) -> None:
    """Of a raster with a CRS and a model for it nothing is said; a model for slides makes any picture medical."""
    out = Path("unused")
    for source, package, expected in (
        (aerial_crop, small_model, {}),
        (slide, small_model, {"notice": NOTICE}),
        (aerial_crop, model, {"notice": NOTICE}),
    ):
        assert notice_of(open_scene(config(source, package, out, tissue="off"))) == expected


def test_a_raster_with_a_crs_has_no_ome_formats(aerial_crop: Path, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SegmentTilesError, match=r"--format names ome-tiff, which cannot hold the CRS"):
        segment(config(aerial_crop, small_model, tmp_path / "out", formats=("zarr", "ome-tiff")), Told())


def test_info_tells_of_levels_size_vendor_and_channels(
    slide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["info", str(slide), "--mpp", "1.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["vendor"] == "generic-tiff"
    assert document["mpp"] == [0.5, 0.5]
    assert document["read_at_mpp"] == pytest.approx([1.5, 1.5])
    assert [level["downsample"] for level in document["levels"]] == [1, 4, 16]
    assert document["band_names"] == ["red", "green", "blue"]


@pytest.mark.slow
def test_a_large_slide_keeps_to_its_plan(model: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "large.tif", tmp_path / "out"
    tissue = write_slide(path, 40)  # 20 480 x 20 480
    assert 1 - tissue.mean() > 0.6, "at least 60 % background"
    words = [
        "--tile",
        "512",
        "--overlap",
        "0.125",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--format",
        "zarr",
    ]
    program = Path(sys.executable).with_name("segment-tiles")
    done = subprocess.run(
        [program, "run", path, "--model", model, "--out", out, *words, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["source"]["height"] == 10240
    assert report["memory"]["peak_bytes"] <= report["memory"]["planned_bytes"]
    codes = open_store(out / "classes.zarr")["classes"]
    stride = 448
    with_tissue = 0
    for top in range(0, 10240 - 64, stride):
        band = codes[top : top + 512] != 255
        with_tissue += sum(band[:, left : left + 512].any() for left in range(0, 10240 - 64, stride))
    assert report["tiles"]["computed"] == with_tissue
    assert report["tiles"]["skipped"] > 0.5 * report["tiles"]["planned"]
    # the stained picture comes again every 512 px, so its columns tell how often classes change where no tile ends
    borders = np.array(
        [column for start in range(stride, 10240 - 64, stride) for column in (start, start + 64)]
    )
    changes, pairs = changes_of_class(codes)
    phase = np.arange(10240) % 512
    usual = np.bincount(phase, changes) / np.bincount(phase, pairs)
    assert changes[borders].sum() > 1000
    assert changes[borders].sum() <= 1.1 * (usual[phase] * pairs)[borders].sum(), (
        "classes change at borders of tiles"
    )


def changes_of_class(codes: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for every column how many pixels have another class than their left neighbour, and of how many."""
    changes, pairs = np.zeros(codes.shape[1]), np.zeros(codes.shape[1])
    for top in range(0, codes.shape[0], 512):
        left, right = codes[top : top + 512, :-1], codes[top : top + 512, 1:]
        both = (left != 255) & (right != 255)
        changes[1:] += ((left != right) & both).sum(axis=0)
        pairs[1:] += both.sum(axis=0)
    return changes, pairs
