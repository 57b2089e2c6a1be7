"""What `run` refuses, `plan`, `batch --dry-run` and `schedule` refuse: the same words, status 2, nothing written."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import nibabel
import numpy as np
import pytest
import rasterio
import yaml
from shapely.geometry import box

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.planning import check_jobs
from segment_tiles.workflows.output_folder import check as folder_check
from segment_tiles.workflows.results.formats import check as formats_check

SITE = 'ENGCRS["site",EDATUM["corner"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
Usage = namedtuple("Usage", "total used free")


@dataclass(frozen=True)
class Bad:
    """A request that cannot be done."""

    words: str
    """What is said of it, as a pattern."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """By the keys of a jobs file."""
    crs: str | None = "EPSG:32633"
    out: str = "out"
    kind: str = "raster"
    """raster, volume, or what ``write_as`` knows."""
    hide: str | None = None
    """Attribute of a module that says what is installed or free, and is patched."""


CASES = {
    "pmtiles without a CRS": Bad(r"pmtiles needs a CRS, and .* has none", {"format": ["pmtiles"]}, crs=None),
    "geojson of a building site": Bad(
        r"geojson holds WGS 84.*'site'.*gpkg", {"format": ["geojson"]}, crs=SITE
    ),
    "nifti of a raster": Bad(r"names nifti, but .* is no volume", {"format": ["nifti"]}),
    "dicom-seg of a GeoTIFF": Bad(r"names dicom-seg", {"format": ["dicom-seg"]}, crs=None),
    "ome-tiff with a CRS": Bad(r"names ome-tiff, .*CRS", {"format": ["ome-tiff"]}),
    "an extra that is missing": Bad(
        r"ome-tiff, which needs tifffile; .*segment-tiles\[slides\]",
        {"format": ["ome-tiff"]},
        None,
        hide="tifffile",
    ),
    "polygon options without polygons": Bad(
        r"--min-area is of polygons, but no format has any; add", {"min-area": 9, "format": ["cog"]}
    ),
    "an area that is none": Bad(r"--sieve: 'many' is not an area such as 25px", {"sieve": "many"}),
    "polygons of a class that is not there": Bad(r"class 'sand' is not in", {"classes": ["sand"]}),
    "polygons by nine neighbours": Bad(r"connectivity is 9; it must be 4 or 8", {"connectivity": 9}),
    "a class that the model has not": Bad(
        r"--reclass: 'land' is made of 'sand', which model small has not", {"reclass": "sand.yaml"}
    ),
    "a threshold of a class that is not there": Bad(
        r"--threshold sand=0.4: model small has no class 'sand'; it has other, tree, water",
        {"threshold": ["sand=0.4"]},
    ),
    "scores that are not kept": Bad(r"names scores, .* add --scores", {"format": ["scores"]}),
    "a driver that is missing": Bad(
        r"gpkg, but the GDAL .* no driver GPKG", {"format": ["gpkg"]}, hide="GPKG"
    ),
    "labels inside a GeoTIFF": Bad(r"--labels-inside .*ome-zarr", {"labels-inside": True}),
    "out on a server": Bad(
        r"out ftp://bucket/maps: results cannot be written to ftp://", out="ftp://bucket/maps"
    ),
    "out on GDAL's s3": Bad(
        r"out /vsis3/bucket: this can be written into a folder only", out="/vsis3/bucket"
    ),
    "out is a file": Bad(r"scene\.tif: is a file", out="scene.tif"),
    "out in a file": Bad(r"scene\.tif is a file; give a folder", out="scene.tif/maps"),
    "out holds a thesis": Bad(r"not of a run \(thesis\.docx\)", out="full"),
    "out is read-only": Bad(r"/proc/segment-tiles: cannot be written", out="/proc/segment-tiles"),
    "a full disk": Bad(
        r"take about .* but 1e\+03 bytes are free|take about .* but 1 kB are free", hide="disk"
    ),
    "little memory": Bad(r"--memory allows 1 MB, but one row of 64 px tiles", {"memory": "1MB"}),
    "no such AOI": Bad(r"nowhere\.gpkg: no such file", {"aoi": "nowhere.gpkg"}),
    "an AOI elsewhere": Bad(r"outside the raster", {"aoi": "elsewhere.gpkg"}),
    "a box elsewhere": Bad(r"--roi .* lies outside the raster", {"roi": [0, 0, 10, 10]}),
    "two bands of three": Bad(r"2 bands are read, but model small takes 3", {"bands": [1, 2]}),
    "no such model": Bad(r"'no-such'", {"model": "no-such"}),
    "tissue of a volume": Bad(
        r"--tissue is .*nowhere.geojson', but .*volume", {"tissue": "nowhere.geojson"}, kind="volume"
    ),
    "tissue found in a volume": Bad(r"--tissue is 'otsu', but .*volume", {"tissue": "otsu"}, kind="volume"),
    "alpha of a volume": Bad(r"--alpha is band, but .*volume", {"alpha": "band"}, kind="volume"),
    "alpha of a slide": Bad(r"--alpha is mask, but .*slide or microscope", {"alpha": "mask"}, kind="slide"),
    "alpha of an OME-TIFF": Bad(r"--alpha is band, but .*slide or micro", {"alpha": "band"}, kind="ome-tiff"),
    "alpha of an OME-Zarr": Bad(
        r"--alpha is band, but .*slide or micro", {"alpha": "band"}, kind="ome-zarr-0.5"
    ),
    "pixels of a hundredth": Bad(
        r"scene\.tif: has pixels of 1 m and would be enlarged 100 times to be read at 0\.01 m; up to 8 times are",
        {"resolution": 0.01},
    ),
    "pixels of two kilometres": Bad(
        r"would be shrunk 2,000 times .* another --resolution", {"resolution": 2000}
    ),
    "metres without a CRS": Bad(
        r"--resolution is 2, but the pixels of .* have no size in metres", {"resolution": 2}, crs=None
    ),
    "a level and metres": Bad(
        r"--level 0 and --resolution 2 exclude each other", {"resolution": 2, "level": 0}
    ),
    "metres of a slide": Bad(
        r"--resolution is 2, but .* is a slide .* --mpp", {"resolution": 2}, kind="slide"
    ),
    "metres of a volume": Bad(r"--resolution is 2\.0, but .* is a volume", {"resolution": 2}, kind="volume"),
    "the grid of a volume": Bad(r"--grid is source, but .* is a volume", {"grid": "source"}, kind="volume"),
    "a mask model that is not there": Bad(
        r"--mask-model no-such: model 'no-such' is neither",
        {"mask": {"model": "no-such", "classes": ["cloud"]}},
    ),
    "a class that the mask model has not": Bad(
        r"--mask-model canopy-rgb: model canopy-rgb has no class 'cloud'; it has other, tree canopy",
        {"mask": {"model": "canopy-rgb", "classes": ["tree canopy", "cloud"]}},
    ),
    "a mask model for other pixels": Bad(
        r"--mask-model canopy-rgb: .*would be enlarged 10 times",
        {"mask": {"model": "canopy-rgb", "classes": ["other"]}},
    ),
    "a mask model of other bands": Bad(
        r"--mask-model brain-tissue: .*3 bands are read, but model brain-tissue takes",
        {"mask": {"model": "brain-tissue", "keep": ["white matter"]}},
    ),
    "a mask of a volume": Bad(
        r"--mask-model .*scan.nii.gz is a volume, whose map no mask limits",
        {"model": "brain-tissue", "mask": {"model": "canopy-rgb", "classes": ["other"]}},
        kind="volume",
    ),
    "an axis of a raster": Bad(r"--axis is given, but .* is no volume", {"axis": "coronal"}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gpd.GeoDataFrame(geometry=[box(0, 0, 5, 5)], crs=32633).to_file(tmp_path / "elsewhere.gpkg")
    (tmp_path / "sand.yaml").write_text("land: [other, sand]")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.docx").write_text("")
    return tmp_path


def write_scene(path: Path, crs: str | None) -> Path:
    place = {} if crs is None else {"crs": crs, "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000)}
    values = np.random.default_rng(0).integers(0, 255, (3, 90, 120), dtype=np.uint8)
    profile = {"driver": "GTiff", "width": 120, "height": 90, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(values)
    return path


def write_kind(kind: str, folder: Path, crs: str | None, write_as: Callable[..., Path]) -> Path:
    if kind == "raster":
        return write_scene(folder / "scene.tif", crs)
    if kind == "volume":
        nibabel.save(nibabel.Nifti1Image(np.ones((20, 20, 4), np.int16), np.eye(4)), folder / "scan.nii.gz")
        return folder / "scan.nii.gz"
    return write_as(kind, np.random.default_rng(0).integers(0, 255, (3, 96, 80), dtype=np.uint8), 0.5)


def hide(what: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this installation lack a library or a driver, or the disk lack space."""
    if what == "tifffile":
        monkeypatch.setattr(formats_check, "find_spec", lambda name: None if name == what else name)
    elif what == "GPKG":
        monkeypatch.setattr(formats_check, "_vector_drivers", set)
    elif what == "disk":
        monkeypatch.setattr(folder_check.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))


def command_words(options: Mapping[str, Any], folder: Path) -> list[str]:
    words = []
    for name, value in options.items():
        if name == "mask":
            rule = ",".join(value.get("classes") or [f"keep={value['keep'][0]}"])
            words += ["--mask-model", f"{value['model']}:{rule}"]
            continue
        words.append(f"--{name}")
        if value is not True:
            path = folder / str(value)
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(str(path) if name in {"aoi", "reclass"} or text.endswith(".geojson") else text)
    return words


@pytest.mark.parametrize("case", CASES)
def test_all_commands_refuse_alike(
    case: str,
    folder: Path,
    small_model: Path,
    write_as: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bad = CASES[case]
    scene = write_kind(bad.kind, folder, bad.crs, write_as)
    out = bad.out if bad.out.startswith(("ftp:", "/")) else str(folder / bad.out)
    settings = {"model": str(small_model), "precision": "fp32", "device": "cpu", **bad.options}
    jobs = folder / "jobs.yaml"
    jobs.write_text(yaml.safe_dump({"jobs": [{"source": str(scene), "out": out, **settings}]}))
    hide(bad.hide, monkeypatch)
    before = sorted(folder.rglob("*"))

    def refusal(*words: str) -> str:
        assert run_command_line([*words]) == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if "warning: " not in line]
        if words[0] == "batch" and lines[-1].endswith("1 job would fail"):
            lines.pop()
        assert len(lines) == 1, lines
        assert sorted(folder.rglob("*")) == before
        return lines[0]

    options = [str(scene), "--out", out, *command_words(settings, folder)]
    said = {"run": refusal("run", *options), "plan": refusal("plan", *options)}
    said["batch"] = refusal("batch", str(jobs), "--dry-run")
    with pytest.raises(SegmentTilesError) as error:
        check_jobs(read_jobs_file(jobs))
    assert error.value.exit_status == 2
    said["schedule"] = f"segment-tiles: error: {error.value}"
    assert sorted(folder.rglob("*")) == before
    message = said["run"].removeprefix("segment-tiles: error: --")
    assert re.search(bad.words, said["run"]), said["run"]
    for name, line in said.items():
        assert message.removeprefix("segment-tiles: error: ") in line, (name, line)


def test_a_restart_that_is_refused_throws_nothing_away(
    tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene, out = write_scene(tmp_path / "scene.tif", "EPSG:32633"), tmp_path / "out"
    words = ["run", str(scene), "--model", str(small_model), "--out", str(out), "--precision", "fp32"]
    assert run_command_line([*words, "--format", "zarr", "--quiet"]) == 0
    before = sorted(out.rglob("*"))
    assert run_command_line([*words, "--format", "zarr", "--restart", "--memory", "1MB"]) == 2
    assert sorted(out.rglob("*")) == before
    assert "--memory allows 1 MB" in capfd.readouterr().err


OUTPUTS: dict[str, Callable[[Path, Path, str], list[str]]] = {
    "train": lambda folder, model, out: ["train", str(folder / "train.yaml"), "--out", out],
}  # fmt: skip


@pytest.mark.parametrize("command", OUTPUTS)
def test_gdals_names_of_buckets_are_no_folders(
    command: str,
    tmp_path: Path,
    small_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    profile = {"driver": "GTiff", "width": 9, "height": 9, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(
        tmp_path / "codes.tif", "w", **profile, transform=rasterio.Affine(1, 0, 9, 0, -1, 9)
    ) as file:
        file.write(np.ones((1, 9, 9), np.uint8))
    scene = {"name": "a", "raster": "codes.tif", "labels": "codes.tif", "class_values": {"1": "x"}}
    network = {"arch": "deeplabv3plus", "backbone": "resnet10t"}
    classes = [{"name": "x", "color": [1, 2, 3]}, {"name": "y", "color": [4, 5, 6]}]
    training = {"name": "net", "classes": classes, "scenes": [scene], "network": network}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(training))
    before = sorted(tmp_path.rglob("*"))
    assert run_command_line(OUTPUTS[command](tmp_path, small_model, "/vsis3/bucket/new")) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(r"/vsis3/bucket/new.*: this can be written into a folder only", lines[0]), lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_space_that_the_run_has_taken_already_counts(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, out = write_scene(tmp_path / "scene.tif", "EPSG:32633"), tmp_path / "out"
    words = ["run", str(scene), "--model", str(small_model), "--out", str(out), "--precision", "fp32"]
    assert run_command_line([*words, "--format", "zarr", "--quiet"]) == 0
    fresh = [
        "plan",
        str(scene),
        "--model",
        str(small_model),
        "--precision",
        "fp32",
        "--out",
        str(tmp_path / "fresh"),
    ]
    hide("disk", monkeypatch)
    assert run_command_line(fresh) == 2
    shutil.rmtree(tmp_path / "out" / "preview.png", ignore_errors=True)
    assert run_command_line(["plan", *words[1:]]) == 0
    # a file system that does not say how large it is refuses nothing
    monkeypatch.setattr(folder_check.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    assert run_command_line(fresh) == 0


def test_polygonize_asks_for_a_crs_before_it_traces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(
        tmp_path / "codes.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8"
    ) as dataset:
        dataset.write(np.ones((1, 9, 9), np.uint8))
    words = ["polygonize", str(tmp_path / "codes.tif"), "--out", str(tmp_path / "a.pmtiles")]
    assert run_command_line(words) == 2
    assert "pmtiles needs a CRS" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.tif"]
