"""Rasters by any name that GDAL understands, and the band of them that holds classes."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import scipy.io
from rasterio.enums import ColorInterp

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.sources.versions.version import source_version
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import identifying_name, raster_name
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.polygons.polygonize import polygonize

CODES = np.zeros((40, 50), np.uint8)
CODES[5:15, 5:20] = 1
CODES[30, 30] = 2


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A folder over HTTP, without a word on stderr."""

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def raster(tmp_path, class_raster) -> Path:
    return class_raster(tmp_path / "classes.tif", CODES)


@pytest.mark.usefixtures("unlisted_folders")
def test_a_raster_in_an_archive_a_netcdf_and_on_a_server(raster, tmp_path):
    with zipfile.ZipFile(tmp_path / "maps.zip", "w") as archive:
        archive.write(raster, "inside/classes.tif")
    with scipy.io.netcdf_file(tmp_path / "maps.nc", "w") as file:
        file.createDimension("y", 40)
        file.createDimension("x", 50)
        for name, codes in (("cover", CODES), ("quality", CODES + 3)):
            file.createVariable(name, "b", ("y", "x"))[:] = codes
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in (
            f"/vsizip/{tmp_path}/maps.zip/inside/classes.tif",
            f"zip://{tmp_path}/maps.zip!inside/classes.tif",
            f'NETCDF:"{tmp_path}/maps.nc":cover',
            f"http://127.0.0.1:{server.server_port}/classes.tif?token=secret",
        ):
            out = tmp_path / "p.parquet"
            assert run_command_line(["polygonize", name, "--out", str(out), "--restart", "--quiet"]) == 0
            pixels = geopandas.read_parquet(out).groupby("class_code")["pixels"].sum()
            assert pixels.to_dict() == {0: 1849, 1: 150, 2: 1}
    finally:
        server.shutdown()
        server.server_close()


def test_tiles_of_a_raster_in_a_changed_archive_are_not_taken_up(raster, tmp_path):
    archive = tmp_path / "maps.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(raster, "classes.tif")
    name = f"/vsizip/{archive}/classes.tif"
    status = archive.stat()
    assert source_version(identifying_name(name)) == [status.st_size, status.st_mtime_ns]
    assert source_version(identifying_name(f'NETCDF:"{archive}":a')) == [status.st_size, status.st_mtime_ns]
    assert raster_name(str(raster)) == raster


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/vsizip/nowhere.zip/a.tif", ("/vsizip/nowhere.zip/a.tif",)),
        ("http://127.0.0.1:9/a.tif", ("http://127.0.0.1:9/a.tif",)),
        ("NETCDF:nowhere.nc:a", ("nowhere.nc",)),
        ("nowhere.tif", ("nowhere.tif",)),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(tmp_path, capsys, name, words):
    assert run_command_line(["polygonize", name, "--out", str(tmp_path / "p.gpkg")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words)


def bands(path: Path, values: np.ndarray, colors: list[ColorInterp] | None = None) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[2], height=values.shape[1], count=values.shape[0],
        dtype=values.dtype, crs="EPSG:32612", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 4e6),
    ) as dataset:  # fmt: skip
        if colors:  # before the values: GDAL writes them into the header
            dataset.colorinterp = colors
        dataset.write(values)
    return path


def test_of_several_bands_one_is_named(tmp_path, capsys):
    other = np.full_like(CODES, 7)
    raster = bands(tmp_path / "two.tif", np.stack([other, CODES]))
    with pytest.raises(VectorError, match=r"has 2 bands \(gray, undefined\), .* --band"):
        open_class_raster(raster)
    out = tmp_path / "p.parquet"
    for band, codes in (("1", {7}), ("2", {0, 1, 2})):
        assert (
            run_command_line(["polygonize", str(raster), "--out", str(out), "--band", band, "--quiet"]) == 0
        )
        assert set(geopandas.read_parquet(out)["class_code"]) == codes
    options = PolygonizeOptions(band=2, sieve=2, majority=3)
    assert {c.code for c in polygonize(raster, [out], options, workers=2).classes} == {0, 1}
    for band in ("0", "3"):
        assert run_command_line(["polygonize", str(raster), "--out", str(out), "--band", band]) == 2
        assert f"band is {band}" in capsys.readouterr().err.replace("--band", "band")


def test_a_band_of_alpha_is_a_mask_and_no_second_raster(tmp_path):
    alpha = np.full_like(CODES, 255)
    alpha[:, :10] = 0
    raster = bands(tmp_path / "a.tif", np.stack([CODES, alpha]), [ColorInterp.gray, ColorInterp.alpha])
    report = polygonize(raster, [tmp_path / "p.parquet"])
    assert sum(c.pixels for c in report.classes) == (alpha > 0).sum()


def test_a_file_of_further_rasters_lists_them(tmp_path, refuses):
    path = tmp_path / "two.gpkg"
    for name in ("cover", "quality"):
        with rasterio.open(
            path, "w", driver="GPKG", width=50, height=40, count=1, dtype="uint8", crs="EPSG:3857",
            transform=rasterio.Affine(1, 0, 5e5, 0, -1, 4e6), RASTER_TABLE=name, APPEND_SUBDATASET="YES",
            TILE_FORMAT="PNG",
        ) as dataset:  # fmt: skip
            dataset.write(CODES, 1)
    message = refuses(VectorError, lambda: open_class_raster(path))
    assert f"GPKG:{path}:cover" in message
    assert f"GPKG:{path}:quality" in message
    assert open_class_raster(f"GPKG:{path}:cover", band=1).spec.height == 40


@pytest.mark.parametrize("kind", ["photograph", "elevation"])
def test_what_holds_no_classes_is_refused_unless_the_band_is_named(tmp_path, refuses, kind):
    noise = np.random.default_rng(0).normal(0, 8, (1, 200, 300))
    slope = np.linspace(40, 200, 300)[None, None, :]
    values = (noise + slope).round().astype(np.uint8 if kind == "photograph" else np.int16)
    raster = bands(tmp_path / "values.tif", values)
    message = refuses(VectorError, lambda: polygonize(raster, [tmp_path / "p.parquet"]))
    assert "not classes" in message
    assert "--band 1" in message
    assert not (tmp_path / "p.parquet").exists()
    report = polygonize(raster, [tmp_path / "p.parquet"], PolygonizeOptions(band=1))
    assert report.features > 1000


def test_a_class_map_of_many_classes_is_one(tmp_path):
    """Parcels by number: hundreds of values, but neighbours are mostly equal."""
    parcels = np.arange(400, dtype=np.uint16).reshape(20, 20).repeat(5, 0).repeat(5, 1)
    report = polygonize(bands(tmp_path / "parcels.tif", parcels[None]), [tmp_path / "p.parquet"])
    assert report.features == 400


def test_a_run_has_no_bands(run_folder, tmp_path):
    with pytest.raises(UsageError, match="--band is 1"):
        polygonize(run_folder, [tmp_path / "p.parquet"], PolygonizeOptions(band=1))


def test_evaluate_says_the_same_of_map_and_truth(tmp_path, capsys):
    one = bands(tmp_path / "one.tif", CODES[None])
    three = bands(tmp_path / "three.tif", np.stack([CODES, CODES, CODES]))
    for class_map, truth in ((three, one), (one, three)):
        words = ["evaluate", str(class_map), str(truth), "--classes", "a,b,c", "--json"]
        assert run_command_line(words) == 2
        assert "three.tif has 3 bands" in capsys.readouterr().err
    assert run_command_line(["evaluate", str(one), str(one), "--classes", "a,b,c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
