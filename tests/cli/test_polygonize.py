"""`segment-tiles polygonize` from the outside: results on stdout, one line on stderr, exit status."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    codes = np.zeros((40, 50), np.uint8)
    codes[5:15, 5:20] = 1
    codes[30, 30] = 2
    path = tmp_path / "classes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=50, height=40, count=1, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(2, 0, 1000, 0, -2, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(codes, 1)
    return path


def test_json_is_one_document(raster, tmp_path, capsys):
    out = [tmp_path / "p.parquet", tmp_path / "p.geojson"]
    status = run_command_line(
        ["polygonize", str(raster), "--out", str(out[0]), "--out", str(out[1]), "--json"]
    )
    printed = capsys.readouterr()
    assert status == 0
    report = json.loads(printed.out)
    assert printed.err == ""
    assert report["features"] == 3
    assert report["files"] == [str(path) for path in out]
    # on the ground: the raster lies 499 km west of the middle of its UTM zone
    assert {c["code"]: c["area"] for c in report["classes"]} == pytest.approx(
        {0: 4.0 * 1849, 1: 4.0 * 150, 2: 4.0}, rel=6e-3
    )
    assert "converted" in report["notes"][0]


def test_amounts_are_in_square_metres_or_pixels(raster, tmp_path, capsys):
    out = tmp_path / "p.parquet"
    for amount, features in (("4", 3), ("5", 2), ("1px", 3), ("2px", 2)):
        assert run_command_line(["polygonize", str(raster), "--out", str(out), "--min-area", amount]) == 0
        assert len(geopandas.read_parquet(out)) == features
    printed = capsys.readouterr()
    assert "class 1" in printed.out
    assert printed.err == ""


def test_every_option_is_understood(raster, tmp_path):
    arguments = (
        "--format fgb --connectivity 8 --classes 0,1 --background 0 --majority 3 --sieve 2px --min-hole 8 "
        "--min-area 1px --simplify 1.5px --right-angles 1 --vector-tile 16 --workers 2 --restart --quiet"
    )
    out = tmp_path / "p.data"
    assert run_command_line(["polygonize", str(raster), "--out", str(out), *arguments.split()]) == 0
    frame = geopandas.read_file(out)
    assert set(frame["class_code"]) == {1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min-area", "lots"], "'lots'"),
        (["--connectivity", "5"], "5"),
        (["--classes", "sea"], "'sea'"),
        (["--majority", "2"], "2"),
        (["--simplify", "-1px"], "'-1px'"),
        (["--format", "dwg"], "'dwg'"),
        (["--workers", "0"], "0"),
    ],
)
def test_bad_words_are_one_line_and_status_two(raster, tmp_path, capsys, words, said):
    out = tmp_path / "p.parquet"
    assert run_command_line(["polygonize", str(raster), "--out", str(out), *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert said in printed.err
    assert not out.exists()


def test_missing_raster_is_one_line(tmp_path, capsys):
    assert run_command_line(["polygonize", str(tmp_path / "no.tif"), "--out", str(tmp_path / "p.gpkg")]) == 2
    assert "no.tif" in capsys.readouterr().err


def test_an_area_that_nobody_knows_is_null_in_json(tmp_path, capsys):
    """Coordinates far from any place on Earth have no area on the ellipsoid."""
    path = tmp_path / "far.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", crs="EPSG:4326",
        transform=rasterio.Affine(1e6, 0, 0, 0, -1e6, 0),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((4, 4), np.uint8), 1)
    assert run_command_line(["polygonize", str(path), "--out", str(tmp_path / "p.parquet"), "--json"]) == 0
    printed = capsys.readouterr().out
    assert "NaN" not in printed
    assert json.loads(printed)["classes"][0]["area"] is None
