"""What is asked of GDAL for a vector file is known to its driver, and is what the file then has."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyogrio
import pytest

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

KINDS_OF_OPTIONS = {
    "DS_LAYER_CREATIONOPTIONLIST": "layer_options",
    "DMD_CREATIONOPTIONLIST": "dataset_options",
}
OGR_ENDINGS = ("gpkg", "fgb", "geojson", "geojsonl", "pmtiles")


@pytest.fixture
def layers(
    class_raster: Callable[..., Path], land_cover: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[dict[str, Any]]]:
    """Return a folder with a file of every format that OGR writes, and what was asked for each."""
    asked: list[dict[str, Any]] = []
    real = pyogrio.write_arrow

    def write(*arguments: Any, **options: Any) -> None:
        asked.append(options)
        real(*arguments, **options)

    monkeypatch.setattr(pyogrio, "write_arrow", write)
    raster = class_raster(tmp_path / "classes.tif", land_cover)
    polygonize(raster, [tmp_path / f"p.{ending}" for ending in OGR_ENDINGS], PolygonizeOptions())
    return tmp_path, asked


def test_vector_files_are_made_as_asked(
    layers: tuple[Path, list[dict[str, Any]]], refused_options: Callable[..., list[str]]
) -> None:
    folder, asked = layers
    assert len(asked) == len(OGR_ENDINGS)
    for options in asked:
        for kind, name in (
            ("DS_LAYER_CREATIONOPTIONLIST", "layer_options"),
            ("DMD_CREATIONOPTIONLIST", "dataset_options"),
        ):
            assert refused_options("pyogrio", options["driver"], kind, options[name]) == [], options["driver"]
    with sqlite3.connect(folder / "p.gpkg") as database:
        (column,) = database.execute("SELECT column_name FROM gpkg_geometry_columns").fetchone()
        (tree,) = database.execute("SELECT extension_name FROM gpkg_extensions").fetchone()
    database.close()
    assert (column, tree) == ("geom", "gpkg_rtree_index")
    assert pyogrio.read_info(folder / "p.fgb")["capabilities"]["fast_spatial_filter"]
    assert (folder / "p.geojsonl").read_bytes().count(b"\x1e") == 0, "no record separators"
    zooms = next(options["dataset_options"] for options in asked if options["driver"] == "PMTiles")
    header = (folder / "p.pmtiles").read_bytes()[:127]
    # https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md: least and greatest zoom at bytes 100 and 101
    assert struct.unpack("BB", header[100:102]) == (int(zooms["MINZOOM"]), int(zooms["MAXZOOM"]))
