"""Names of classes and files with commas, brackets, quotes, in every format and on the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import tifffile
import zarr

from segment_tiles.cli.commands.run import print_summary
from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.models.packages.stac_fields import class_slugs
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.masks.ome_tiff_mask import write_ome_tiff
from segment_tiles.pipeline.outputs.masks.ome_zarr_labels import write_ome_zarr_labels
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.results.table import job_row
from segment_tiles.workflows.polygons.polygonize import polygonize

NAMES = (
    "nodata", 'trees, "tall" & <old>', "[/root] [bold]", "it's 100 % \\ :tree:", "水 développé", "a;b|c{d}", "x=y",
)  # fmt: skip
"""Each is legal in a model package; the second part of the third closes nothing that Rich knows."""


def store(folder: Path, georef: GeoRef, names: tuple[str, ...] = NAMES) -> Path:
    """A finished store with a square of every class."""
    table = ClassTable(tuple(MapClass(code, name, (code, 7, 9)) for code, name in enumerate(names)))
    codes = np.arange(len(names), dtype=np.uint8).repeat(12)[None, :].repeat(40, 0)
    group = open_store(create_store(folder / "classes.zarr", codes.shape, georef, table), "r+")
    array_of(group, "classes")[:] = codes
    array_of(group, "confidence")[:] = 200
    build_overviews(group)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    wkt = rasterio.CRS.from_epsg(32612).to_wkt()
    return store(tmp_path / "run [1]", GeoRef((10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), wkt))


@pytest.mark.parametrize(
    "ending", ["parquet", "gpkg", "fgb", "geojson", "geojsonl", "pmtiles", "qupath.geojson"]
)
def test_every_vector_file_has_the_names_as_they_are(folder: Path, ending: str) -> None:
    path = folder / f"polygons [x].{ending}"
    polygonize(folder, [path])
    if ending == "qupath.geojson":
        features = json.loads(path.read_text())["features"]
        found = {feature["properties"]["classification"]["name"] for feature in features}
    elif ending == "parquet":
        found = set(geopandas.read_parquet(path)["class_name"])
    else:
        layer = pyogrio.list_layers(path)[0, 0]
        found = set(pyogrio.read_dataframe(path, layer=layer)["class_name"])
    assert found == set(NAMES)


def test_raster_sidecars_and_ome_have_the_names_as_they_are(folder: Path, tmp_path: Path) -> None:
    group = zarr.open_group(folder / "classes.zarr", mode="r")
    write_cog(group, folder / "classes.tif")
    root = ElementTree.parse(folder / "classes.tif.aux.xml").getroot()
    assert [element.text for element in root.iter("Category")] == list(NAMES)
    entries = ElementTree.parse(folder / "classes.qml").getroot().iter("paletteEntry")
    assert [entry.get("label") for entry in entries] == list(NAMES)
    assert [c.name for c in open_class_raster(folder / "classes.tif").spec.classes] == list(NAMES)

    micrometres = GeoRef((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), None, "micrometer")
    slide = zarr.open_group(store(tmp_path / "slide", micrometres) / "classes.zarr", mode="r")
    write_ome_zarr_labels(
        slide, tmp_path / "labels.ome.zarr", source_levels=[], pixel_counts=[1] * len(NAMES)
    )
    written = "".join(path.read_text() for path in (tmp_path / "labels.ome.zarr").rglob("zarr.json"))
    write_ome_tiff(slide, tmp_path / "mask.ome.tif", source_levels=[])
    with tifffile.TiffFile(tmp_path / "mask.ome.tif") as tiff:
        assert ElementTree.fromstring(tiff.ome_metadata or "") is not None
    for name in NAMES:
        assert json.dumps(name) in written or json.dumps(name, ensure_ascii=False) in written


def test_stac_has_a_legal_name_for_each_and_the_title_as_it_is() -> None:
    slugs = class_slugs(ClassTable(tuple(MapClass(code, name, (0, 0, 0)) for code, name in enumerate(NAMES))))
    assert len(set(slugs)) == len(NAMES)
    assert all(re.fullmatch("[0-9A-Za-z_-]+", slug) for slug in slugs)
    assert "nodata" not in slugs


def test_tables_on_the_terminal_show_brackets(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = folder / "p [/x].parquet"
    assert run_command_line(["polygonize", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert str(out) in printed


def test_the_summary_of_a_run_shows_brackets(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_summary({
        "classes": [{"name": name, "pixels": 1, "area": 1.0} for name in NAMES],
        "nodata": {"pixels": 9, "area": 0.00448},
        "area_unit": "m2", "was_finished": False, "choices": {"device_name": "[cpu]", "precision": "fp32"},
        "tiles": {"computed": 1, "skipped": 0}, "seconds": {}, "memory": {"peak_bytes": 1}, "out": "/maps [/old]",
        "model": {"name": "[small]", "description": "of [ground]"},
        "outputs": ["classes.tif"],
    })  # fmt: skip
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert "/maps [/old]/classes.tif" in printed
    assert "model [small]: of [ground]" in printed
    assert "1.0" in printed
    assert "0.00448" in printed, "a micrograph has parts of a square millimetre"


@pytest.mark.parametrize("command", [["info"], ["evaluate"], ["plan"]])
def test_file_names_with_brackets_on_the_terminal(
    folder: Path, small_model: Path, aerial_crop: Path, tmp_path: Path, command: list[str],
    capsys: pytest.CaptureFixture[str], monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "300")
    scene = tmp_path / "scene [" / "b] :tree:.tif"
    scene.parent.mkdir()
    scene.write_bytes(aerial_crop.read_bytes())
    words = {
        "info": ["info", str(scene)],
        "plan": ["plan", str(scene), "--model", str(small_model), "--device", "cpu"],
        "evaluate": ["evaluate", str(folder), str(folder)],
    }[command[0]]
    assert run_command_line(words) == 0
    printed = capsys.readouterr().out
    assert ("[/root] [bold]" if command == ["evaluate"] else scene.name) in printed


def test_a_class_with_a_comma_is_chosen_in_quotes_and_two_codes_of_one_name_together(folder: Path) -> None:
    out = folder / "p.parquet"
    chosen = '"trees, ""tall"" & <old>",[/root] [bold]'
    assert (
        run_command_line(["polygonize", str(folder), "--out", str(out), "--classes", chosen, "--quiet"]) == 0
    )
    assert set(geopandas.read_parquet(out)["class_name"]) == set(NAMES[1:3])


def test_two_codes_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raster = tmp_path / "c.tif"
    with rasterio.open(
        raster, "w", driver="GTiff", width=6, height=4, count=1, dtype="uint8", crs="EPSG:32612",
        transform=rasterio.Affine(1, 0, 5e5, 0, -1, 4e6),
    ) as dataset:  # fmt: skip
        dataset.write(np.array([[0, 0, 1, 1, 2, 2]] * 4, np.uint8), 1)
    Path(f"{raster}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>sea</Category><Category>wood</Category>'
        "<Category>wood</Category></CategoryNames></PAMRasterBand></PAMDataset>"
    )
    report = polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(classes=("wood",)))
    assert [(c.code, c.name, c.pixels) for c in report.classes] == [(1, "wood", 8), (2, "wood", 8)]
    report = polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(background="wood"))
    assert [c.name for c in report.classes] == ["sea"]
    assert run_command_line(["evaluate", str(raster), str(raster)]) == 2
    assert "two codes of the class map are called 'wood'" in capsys.readouterr().err
    assert (
        run_command_line(["evaluate", str(raster), str(raster), "--classes", "sea,wood,pine", "--json"]) == 0
    )


def test_a_class_called_nodata_keeps_its_column() -> None:
    report = {
        "classes": [{"name": "nodata", "pixels": 5, "area": 2.0}], "nodata": {"pixels": 1, "area": 0.4},
        "area_unit": "m2",
    }  # fmt: skip
    config = SimpleNamespace(source="a.tif", out=Path("out"))
    job: Any = SimpleNamespace(number=1, name="a", line=1, config=config, mosaic=None)
    outcome = JobOutcome(job, "done", report=report)
    row = job_row(outcome)
    assert (row["pixels nodata (class)"], row["pixels nodata"]) == (5, 1)
