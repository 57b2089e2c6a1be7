"""The tutorials run as they are written: their files, their commands in order, their code; and give what they say."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'```(console|python|yaml)(?: title="([^"]+)")?\n(.*?)```', re.DOTALL)
# the test has an environment, and is in a folder of its own
NOT_HERE = {". .venv/bin/activate", "mkdir tutorial && cd tutorial"}

Follow = Callable[[str], Path]


def run_line(line: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run one line of a page; ``# exit status N`` behind it says how it ends."""
    command, _, comment = line.partition("#")
    expected = int(comment.removeprefix(" exit status ")) if comment else 0
    words = shlex.split(command)
    if words[0] != "segment-tiles":
        subprocess.run(["sh", "-c", command], check=True)
        return
    status = run_command_line(words[1:])
    printed = capsys.readouterr()
    assert status == expected, (page, line, printed.err)
    assert printed.out or status, (page, line)


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Follow:
    """Does what a page says, in a folder beside those of the checkout; returns that folder."""
    for name in ("docs", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "tutorial"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def followed(page: str) -> Path:
        text = (ROOT / "docs" / "tutorials" / page).read_text()
        for kind, title, content in BLOCK.findall(text):
            if kind == "yaml":
                Path(title).write_text(content)
            elif kind == "python":
                exec(compile(content, page, "exec"), {})
            else:
                for line in content.splitlines():
                    if line.startswith("$ ") and line[2:] not in NOT_HERE:
                        run_line(line[2:], page, capsys)
        return folder

    return followed


def held_out_iou(training: Path, name: str) -> float:
    report = json.loads((training / "report.json").read_text())
    (area,) = report["scores"].values()
    return float(area[name]["iou"])


@pytest.mark.slow  # trains on polygons, maps and exports; README and docs/running.md show each step quickly
def test_orthophoto(follow: Follow) -> None:
    folder = follow("orthophoto.md")
    assert held_out_iou(folder / "training", "tree") > 0.3  # a map that is all tree would have 0.17
    trees = gpd.read_file(folder / "trees.gpkg", layer="trees")
    assert len(trees) > 10
    assert set(trees["class_name"]) == {"tree"}
    with rasterio.open("photo.tif") as photo, rasterio.open("map/classes.tif") as classes:
        assert (classes.crs, classes.transform, classes.shape) == (photo.crs, photo.transform, photo.shape)


@pytest.mark.slow  # like the orthophoto
def test_slide(follow: Follow, shared_real: Path) -> None:
    pytest.importorskip("openslide", reason="the extra slides is not installed")
    shutil.copyfile(shared_real / "openslide-rs" / "default.svs", "CMU-1-Small-Region.svs")
    folder = follow("slide.md")
    assert held_out_iou(folder / "training", "epidermis") > 0.6
    features = json.loads((folder / "map" / "polygons.qupath.geojson").read_text())["features"]
    named = {feature["properties"]["classification"]["name"] for feature in features}
    assert named == {"dermis", "epidermis"}
    assert (folder / "map" / "classes.ome.tif").is_file()


@pytest.mark.slow
def test_volume(follow: Follow) -> None:
    folder = follow("volume.md")
    assert (folder / "brain" / "classes.nii.gz").is_file()
    assert (folder / "look" / "preview.png").is_file()


def test_night(follow: Follow) -> None:
    folder = follow("night.md")
    for scene in ("monday", "tuesday", "wednesday"):
        assert (folder / "maps" / scene / "classes.tif").is_file()
    assert "[job maps/wednesday] ends: failed" in (folder / "night.log").read_text()
    with (folder / "maps" / "jobs.csv").open(newline="") as table:
        assert {row["state"] for row in csv.DictReader(table)} <= {"done", "skipped"}


def test_two_dates(follow: Follow) -> None:
    folder = follow("two-dates.md")
    with rasterio.open(folder / "maps" / "MGRS-33UUP" / "classes.tif") as classes:
        greened = classes.read(1) == 1
        assert (classes.crs.to_epsg(), classes.transform[0]) == (32633, 10)
    wanted = np.kron(np.random.default_rng(0).random((12, 12)) > 0.5, np.ones((16, 16))).astype(bool)
    np.testing.assert_array_equal(greened, wanted)
    source = json.loads((folder / "maps" / "MGRS-33UUP" / "report.json").read_text())["settings"]["source"]
    assert [name in source for name in ("red@1", "swir16@1", "red@2", "swir16@2")] == [True] * 4
