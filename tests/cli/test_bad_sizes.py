"""Options beyond what any machine holds, and names that no file can have: one line, status 2, nothing made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tile", "0"], "--tile is 0; give the side"),
        (["--tile", "2147483648"], "--tile is 2147483648; give the side of a tile in pixels"),
        (["--tile", "9" * 400], "--tile is 99999999999999999999; give the side"),
        (
            ["--tile", "1073741824"],
            "takes .* GB for the pixels alone; .* GB are free: give a smaller --tile or",
        ),
        (["--batch", "2147483647"], "--batch 2147483647 with tiles of .* px takes"),
        (["--batch", "2147483648"], "--batch is '2147483648'; give auto or a number of tiles"),
        (["--batch", "9" * 5000], "--batch is '9{40}'; give auto"),
        (["--batch", "²"], "--batch is '²'"),
        (["--bands", "²"], "--bands is '²'"),
        (["--bands", "9" * 5000], "--bands is"),
        (["--memory", "9" * 400], "--memory is '9{40}'; give a size"),
        (["--memory", "9" * 30 + "TB"], "--memory is '9{30}TB'; give a size"),
        (["--workers", "2147483648"], "--workers is 2147483648; give a number from 1 to"),
        (
            ["--workers", "5000"],
            r"--workers is 5000; give a number from 1 to \d+: (more do not fit|this machine has)",
        ),
        # GDAL cuts these to 32 bits, and opens level 0 and 1
        (["--level", "9223372036854775808"], "has no level 9223372036854775808"),
        (["--level", "4294967297"], "has no level 4294967297"),
        (["--roi", "1e400,0,1,1"], "--roi is '1e400,0,1,1'; give MINX"),
        (["--roi", "1e300,0,1e301,1"], "lies outside the raster"),
        (["--nodata", "1e400"], "--nodata is inf, but the raster is"),
        (["--nodata", "9" * 400], "--nodata is inf, but the raster is"),
        (["--aoi", "a" * 5000], "a{60}...: no file can have so long a name"),
        (["--model", "a" * 5000], "a{60}...: no file can have so long a name"),
        (["--aoi", "\udcff.gpkg"], r"\\udcff.gpkg is no UTF-8"),
    ],
)
def test_an_option_that_nothing_can_hold_is_refused_before_anything_is_made(
    small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    out = tmp_path / "out"
    source = tmp_path / "scene.tif"
    profile = {
        "driver": "GTiff",
        "height": 32,
        "width": 32,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32633",
    }
    with rasterio.open(source, "w", transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000), **profile) as file:
        file.write(np.ones((3, 32, 32), np.uint8))
        file.build_overviews([2])
    command = ["run", str(source), "--model", str(small_model), "--out", str(out), "--quiet"]
    assert run_command_line([*command, *options]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert re.search(text, said), said
    assert not out.exists()
