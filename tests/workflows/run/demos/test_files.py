"""Demos of a file of the user, and of none: which wants which, and what ships with its licence."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.demo import DEMO_SCENE, DEMOS, demo_config


def test_landcover_wants_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["demo", "landcover"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("none is named; give one: segment-tiles demo landcover FILE")


@pytest.mark.parametrize("name", [name for name, demo in DEMOS.items() if demo.sample is not None])
def test_a_demo_with_a_sample_takes_no_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["demo", name, "https://host/my.tif?sig=secret"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"demo {name} maps a sample that ships with the program" in line
    assert f"segment-tiles run https://host/my.tif --model {DEMOS[name].model} --out RESULT" in line


def test_the_file_of_landcover_is_what_is_run(tmp_path: Path) -> None:
    config = demo_config(tmp_path / "out", name="landcover", file="my town.tif")
    assert (config.source, config.model, config.out) == ("my town.tif", "landcover-rgb", tmp_path / "out")
    with pytest.raises(UsageError, match="there is no demo 'forest'; give one of canopy, brain"):
        demo_config(name="forest")


def test_the_micrograph_ships_with_its_licence() -> None:
    sample = DEMOS["axon"].sample
    assert sample is not None
    notice = " ".join(sample.with_name("axon_sem.NOTICE.txt").read_text().split())
    assert "Copyright (c) 2020 ivadomed" in notice
    assert "this permission notice shall be included in all copies" in notice
    assert sample.stat().st_size < 1_000_000
    with Image.open(sample) as picture:
        assert (picture.size, picture.mode) == ((1154, 744), "L")


def test_demo_landcover_maps_a_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["demo", "landcover", str(DEMO_SCENE), "--out", str(out), "--device", "cpu"]
    assert run_command_line(command) == 0
    assert f"segment-tiles run {DEMO_SCENE} --model landcover-rgb" in capsys.readouterr().out
    found = pd.read_parquet(out / "polygons.parquet", columns=["class_name"])
    assert "vegetation" in set(found["class_name"]), "the scene is of trees and grass"
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["limits"]
    assert (out / "classes.tif").exists()
