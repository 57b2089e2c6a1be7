"""`segment-tiles demo axon`: sizes of axons and fibres near those of the masks that people made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from segment_tiles.cli.main import run_command_line

AXONS = 389
"""Wider than a micrometre in the published masks of the sample, made objects by the rule of the model."""
AXON, FIBRE, G_RATIO = 2.34, 3.84, 0.607
"""Their medians, in micrometres."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the demo."""
    out = tmp_path_factory.mktemp("demo") / "out"
    assert run_command_line(["demo", "axon", "--out", str(out), "--device", "cpu", "--quiet"]) == 0
    return out


def test_demo_axon_measures_fibres(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["demo", "axon", "--out", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for word in ("preview.png", "objects.parquet", "g_ratio", "--model axon-myelin", "not for diagnosis"):
        assert word in printed
    objects = pd.read_parquet(out / "objects.parquet")
    assert objects["pixels"].min() >= 20, "smaller ones are left out: the model says so"
    wide = objects[objects["axon_diameter_um"] > 1]
    assert 0.8 * AXONS < len(wide) < 1.2 * AXONS
    assert wide["axon_diameter_um"].median() == pytest.approx(AXON, rel=0.15)
    assert wide["fibre_diameter_um"].median() == pytest.approx(FIBRE, rel=0.1)
    assert wide["g_ratio"].median() == pytest.approx(G_RATIO, abs=0.08)
    np.testing.assert_allclose(
        objects["fibre_diameter_um"] - objects["axon_diameter_um"], 2 * objects["myelin_thickness_um"]
    )


def test_the_map_lies_on_pixels_of_the_model(out: Path) -> None:
    assert zarr.open_group(out / "classes.zarr", mode="r")["classes"].shape == (967, 1500)
    report = json.loads((out / "report.json").read_text())
    assert report["source"]["micrometers_per_pixel"] == {
        "full_resolution": [0.13, 0.13],
        "read": [0.1, 0.1],
    }
    features = json.loads((out / "polygons.qupath.geojson").read_text())["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    fibres = [entry for entry in measured if "g-ratio" in entry]
    assert len(fibres) == len(pd.read_parquet(out / "objects.parquet"))
    assert all(entry["Axon diameter µm"] <= entry["Fibre diameter µm"] for entry in fibres)
