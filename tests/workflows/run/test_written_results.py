"""What a run leaves behind is valid, whole and portable: JSON, item, styles."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.batch.results.collection import _extent
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.results.item import portable_href
from segment_tiles.workflows.run.segment import segment


def strict(text: str) -> Any:
    """JSON after the standard, which has no NaN and no Infinity."""

    def refuse(name: str) -> float:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One band of float32 with nodata NaN, which stands in the metadata of most elevation models."""
    path = tmp_path_factory.mktemp("written") / "scene with NaN.tif"
    values = np.random.default_rng(1).integers(0, 255, (1, 96, 96)).astype(np.float32)
    values[:, :20, :20] = np.nan
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=96, width=96, dtype="float32", nodata=math.nan,
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.fixture(scope="module")
def finished(scene: Path, grey_model: Path, quiet: Any) -> Path:
    out = scene.parent / "maps" / "out"
    segment(RunConfig(str(scene), str(grey_model), out, precision="fp32", device="cpu"), quiet)
    return out


def test_numbers_that_are_not_finite_are_null_and_nodata_keeps_its_name() -> None:
    values = {"iou": [math.nan, 0.5], "--nodata": math.nan, "nodata": (1, math.inf), "low": -math.inf}
    assert strict(json_text(values)) == {
        "iou": [None, 0.5], "--nodata": "nan", "nodata": [1, "inf"], "low": None,
    }  # fmt: skip
    assert strict(json_text({"x": np.float64("nan")})) == {"x": None}


def test_every_json_of_a_run_is_valid_and_a_raster_with_nodata_nan_can_go_on(
    scene: Path, finished: Path, grey_model: Path, quiet: Any
) -> None:
    files = [path for path in finished.rglob("*.json") if path.is_file()]
    assert {"report.json", "item.json", "run.json"} <= {path.name for path in files}
    for path in files:
        strict(path.read_text(encoding="utf-8"))
    again = segment(RunConfig(str(scene), str(grey_model), finished, precision="fp32", device="cpu"), quiet)
    assert again.was_finished


@pytest.mark.parametrize("command", ["info", "plan", "run"])
def test_every_command_prints_valid_json(
    scene: Path, grey_model: Path, finished: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, str(scene), *(["--model", str(grey_model)] if command != "info" else [])]
    words += ["--device", "cpu"] if command != "info" else []
    words += ["--out", str(finished), "--precision", "fp32"] if command == "run" else []
    assert run_command_line([*words, "--json"]) == 0
    strict(capsys.readouterr().out)


def test_the_item_names_no_path_of_this_machine(finished: Path, grey_model: Path, scene: Path) -> None:
    text = (finished / "item.json").read_text()
    item = strict(text)
    for folder in (finished, grey_model, scene.parent):
        assert str(folder.parent) not in text
    # the scene is not beside the result, so its name alone is told
    assert "scene with NaN.tif" in item["properties"]["processing:lineage"]
    assert [link for link in item["links"] if link["rel"] == "derived_from"] == []
    assert item["properties"]["processing:expression"]["expression"] == "grey"


def test_only_what_moves_with_the_result_has_a_relative_link(tmp_path: Path) -> None:
    out = tmp_path / "project" / "out"
    out.mkdir(parents=True)
    (tmp_path / "project" / "scene.tif").touch()
    (tmp_path / "elsewhere.tif").touch()
    assert portable_href(str(tmp_path / "project" / "scene.tif"), out) == "../scene.tif"
    assert portable_href(str(tmp_path / "elsewhere.tif"), out) is None
    assert portable_href("https://example.com/a.tif", out) == "https://example.com/a.tif"
    assert portable_href(f"NETCDF:{tmp_path}/a.nc:x", out) is None
    assert portable_href(str(tmp_path / "elsewhere.tif"), Path("/out")) is None


def test_export_updates_the_item(finished: Path) -> None:
    before = strict((finished / "item.json").read_text())
    assert run_command_line(["export", str(finished), "--format", "fgb,geojson"]) == 0
    after = strict((finished / "item.json").read_text())
    added = {"polygons.fgb", "polygons.geojson"}
    assert set(after["assets"]) == set(before["assets"]) | added
    assert {k: v for k, v in after.items() if k != "assets"} == {
        k: v for k, v in before.items() if k != "assets"
    }
    for name in (*added, "report.json"):
        (asset,) = [a for a in after["assets"].values() if a["href"] == f"./{name}"]
        digest = hashlib.sha256((finished / name).read_bytes()).hexdigest()
        assert asset["file:checksum"] == f"1220{digest}"


def test_restart_takes_the_styles_away_with_what_they_belong_to(finished: Path) -> None:
    from segment_tiles.workflows.output_folder.directory import RESULTS  # noqa: PLC0415

    left = {path.name for path in finished.iterdir()} - {".segment-tiles"} - set(RESULTS)
    assert left == set()
    assert {"classes.qml", "polygons.qml"} <= {path.name for path in finished.iterdir()}


def test_export_and_run_write_the_styles(finished: Path) -> None:
    styles = [finished / "classes.qml", finished / "polygons.qml"]
    assert all(path.is_file() for path in styles)
    made_by_run = [path.read_text() for path in styles]
    for path in styles:
        path.unlink()
    assert run_command_line(["export", str(finished), "--format", "cog,fgb"]) == 0
    assert [path.read_text() for path in styles] == made_by_run


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[179, -1, -179, 1]], [179, -1, -179, 1]),
        ([[179, -1, -179, 1], [-178, 2, -177, 3]], [179, -1, -177, 3]),
        ([[170, 0, 175, 1], [-175, 0, -170, 1]], [170, 0, -170, 1]),
        ([[-10, 0, 20, 1], [15, 0, 30, 1]], [-10, 0, 30, 1]),
        ([[-180, -90, 180, 90], [3, 0, 4, 1]], [-180, -90, 180, 90]),
    ],
)
def test_a_collection_across_180_degrees_is_as_narrow_as_its_items(
    boxes: list[list[float]], expected: list[float]
) -> None:
    items = [
        pystac.Item(str(n), {"type": "Point", "coordinates": [0, 0]}, box, pystac.utils.now_in_utc(), {})
        for n, box in enumerate(boxes)
    ]
    assert _extent(items).spatial.bboxes == [expected]
