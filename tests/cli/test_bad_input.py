"""Whatever is wrong with words or input: one line that names it, exit status 2 or 1, nothing half-written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.output_folder.directory import OutputDirectory

FINAL_NAMES = {"classes.zarr", "classes.tif", "polygons.parquet", "preview.png", "report.json", "item.json"}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, 90, 120), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=120, height=90, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str | Path, status: int = 2) -> str:
    """Run, and return the one line on stderr."""
    assert run_command_line([*map(str, arguments)]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if "warning:" not in line]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err
    if out.is_dir():
        assert not FINAL_NAMES & {path.name for path in out.iterdir()}
    return lines[0]


CASES = {
    "overlap of the whole tile": (["--overlap", "1"], r"--overlap is 1; .* below 1"),
    "negative overlap": (["--overlap", "-0.25"], r"--overlap is -0.25"),
    "overlap is a word": (["--overlap", "half"], r"--overlap is 'half'; give a number"),
    "unknown blend": (["--blend", "cosine"], r"'cosine'.*gaussian, hann, linear, crop"),
    "unknown precision": (["--precision", "fp8"], r"'fp8'.*auto, fp32, bf16, fp16"),
    "unknown device": (["--device", "tpu"], r"'tpu'.*auto, cpu, cuda"),
    "unknown format": (["--format", "dwg"], r"'dwg'.*zarr, cog, .*parquet"),
    "unknown rule": (["--nodata-rule", "some"], r"'some'.*all, any"),
    "unknown option": (["--stride", "3"], r"No such option.*--stride"),
    "tile off the output stride": (["--tile", "100"], r"--tile is 100; .*multiple of 16"),
    "batch of nothing": (["--batch", "0"], r"--batch is '0'"),
    "roi of three numbers": (["--roi", "1,2,3"], r"--roi is '1,2,3'; give MINX,MINY,MAXX,MAXY"),
    "roi turned over": (["--roi", "1100,1950,1000,1990"], r"MINX must be below MAXX"),
    "roi outside": (["--roi", "0,0,10,10"], r"outside the raster, which covers 1000, 1910, 1120, 2000"),
    "bands by name": (["--bands", "red"], r"--bands is 'red'; give band numbers"),
    "bands not there": (["--bands", "1,2,9"], r"band 9, but .* bands 1 to 3"),
    "too few bands": (["--bands", "1,2"], r"2 bands are read, but model small takes 3 \(red, green, blue\)"),
    "nodata out of range": (["--nodata", "300"], r"--nodata is 300, but the raster is uint8"),
    "no such level": (["--level", "3"], r"no level 3"),
    "memory is a word": (["--memory", "much"], r"--memory is 'much'; give a size such as 4GB"),
    "memory below one row of tiles": (
        ["--memory", "1MB"],
        r"--memory allows 1 MB, but one row of 64 px tiles",
    ),
    "aoi is missing": (["--aoi", "nowhere.gpkg"], r"nowhere\.gpkg"),
}


@pytest.mark.parametrize("case", CASES)
def test_option(
    case: str, scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = CASES[case]
    out = tmp_path / "out"
    line = refused(capsys, out, "run", scene, "--model", small_model, "--out", out, *options)
    assert re.search(expected, line), line


def test_source(scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    rest = ("--model", small_model, "--out", out)
    assert "no such file" in refused(capsys, out, "run", tmp_path / "a.tif", *rest)
    (tmp_path / "b.tif").write_bytes(b"II*\0 not really")
    assert "ends early or is damaged" in refused(capsys, out, "run", tmp_path / "b.tif", *rest)
    (tmp_path / "b.png").write_bytes(b"not really")
    assert "not a raster that GDAL can read" in refused(capsys, out, "run", tmp_path / "b.png", *rest)
    (tmp_path / "c.tif").write_bytes(scene.read_bytes()[:200])
    assert "c.tif" in refused(capsys, out, "run", tmp_path / "c.tif", *rest)
    assert "give the path or URL" in refused(capsys, out, "info", tmp_path / "a.tif")
    assert "give the path or URL" in refused(capsys, out, "plan", tmp_path / "a.tif", "--model", small_model)
    assert "Missing argument" in refused(capsys, out, "run", *rest)


def test_model(scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    line = refused(capsys, out, "run", scene, "--model", "no-such", "--out", out)
    assert "'no-such'" in line
    assert "canopy-rgb" in line
    damaged = tmp_path / "damaged"
    shutil.copytree(small_model, damaged)
    weights = damaged / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "checksum" in refused(capsys, out, "run", scene, "--model", damaged, "--out", out)
    weights.unlink()
    assert "weights.safetensors" in refused(capsys, out, "run", scene, "--model", damaged, "--out", out)


def test_output_directory(
    scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = (
        "run",
        scene,
        "--model",
        small_model,
        "--format",
        "zarr",
        "--quiet",
        "--precision",
        "fp32",
        "--out",
    )
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, out, *words, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("")
    assert "thesis.docx" in refused(capsys, out, *words, tmp_path / "full")
    assert run_command_line([*map(str, words), str(out)]) == 0
    assert run_command_line([*map(str, words), str(out), "--overlap", "0.5"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--overlap was 0.25, is now 0.5" in line
    assert "--restart" in line
    assert run_command_line([*map(str, words), str(out), "--overlap", "0.5", "--restart"]) == 0
    assert run_command_line([*map(str, words), str(out), "--overlap", "0.5", "--precision", "bf16"]) == 2
    assert "--precision was fp32, is now bf16" in capsys.readouterr().err


def test_read_only_directory(
    scene: Path, small_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """/proc is read-only for everyone, root too."""
    out = Path("/proc/segment-tiles-test")
    if not out.parent.is_dir():
        pytest.skip("this system has no /proc")
    line = refused(capsys, tmp_path, "run", scene, "--model", small_model, "--out", out)
    assert "cannot be written" in line


def test_aoi_outside(
    scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpd.GeoDataFrame(geometry=[box(0, 0, 5, 5)], crs=32633).to_file(tmp_path / "aoi.gpkg")
    out = tmp_path / "out"
    line = refused(
        capsys, out, "run", scene, "--model", small_model, "--out", out, "--aoi", tmp_path / "aoi.gpkg"
    )
    assert "outside the raster" in line


def test_a_busy_directory_says_who_works_there(
    scene: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with OutputDirectory(out).locked_for():
        line = refused(capsys, out, "run", scene, "--model", small_model, "--out", out)
    assert "process" in line
    assert "is at work here" in line


def test_export_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no finished run" in refused(capsys, tmp_path, "export", tmp_path, "--format", "gpkg")
