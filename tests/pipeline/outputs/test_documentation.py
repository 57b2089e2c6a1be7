"""The commands of docs/outputs.md work on a result folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stac_item import Provenance, write_item
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import read_georef
from segment_tiles.workflows.results.item import item_file

PAGE = Path(__file__).resolve().parents[3] / "docs" / "outputs.md"
BLOCK = re.compile(r"^```(python|python xarray|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for language, text in BLOCK.findall(PAGE.read_text()) if language == kind]


@pytest.fixture
def result_folder(make_store, patchy_classes, table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    group = make_store(patchy_classes(700, 600), name="result/classes.zarr")
    build_overviews(group)
    folder = tmp_path / "result"
    write_cog(group, folder / "classes.tif", pixel_counts=(1, 2, 3))
    write_item(
        folder / "item.json",
        [item_file(folder / "classes.zarr"), item_file(folder / "classes.tif")],
        georef=read_georef(group),
        shape=(700, 600),
        table=table,
        pixel_counts=(1, 2, 3),
        provenance=Provenance(
            ("scene.tif",), "model.json", "m", datetime(2026, 1, 1, tzinfo=UTC), {"a": "1"}
        ),
    )
    monkeypatch.chdir(tmp_path)
    return folder


def run_python(kind: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for text in blocks(kind):
        exec(compile(text, str(PAGE), "exec"), names)
    return names


@pytest.mark.usefixtures("result_folder")
def test_python_examples(table, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(blocks("python")) == 3
    names = run_python("python")
    assert names["mapped"].any()
    assert not names["mapped"].all()
    assert names["names"] == list(table.names)
    assert "EPSG:32612" in capsys.readouterr().out


@pytest.mark.skipif(
    importlib.util.find_spec("xarray") is None or importlib.util.find_spec("rioxarray") is None,
    reason="xarray and rioxarray (extra xarray) are not installed",
)
@pytest.mark.usefixtures("result_folder")
def test_xarray_examples() -> None:
    names = run_python("python xarray")
    assert names["codes"].shape == (700, 600)
    assert names["overview"].shape == (350, 300)
    assert names["codes"].rio.crs.to_epsg() == 32612


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo (package gdal-bin) is not installed")
@pytest.mark.usefixtures("result_folder")
def test_gdal_example(table) -> None:
    (command,) = blocks("bash")
    text = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    for name in table.names:
        assert name in text
