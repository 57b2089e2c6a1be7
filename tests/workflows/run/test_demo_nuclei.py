"""`segment-tiles demo nuclei`: one object, detection and number for each nucleus, near what people counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.demo import DEMOS

COUNTED = 258
"""Nuclei in the labels of the four tiles of the sample."""


def test_demo_nuclei_counts_nuclei(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_command_line(["demo", "nuclei", "--out", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for word in (
        "preview.png",
        "polygons.qupath.geojson",
        "objects.parquet",
        "--model nuclei",
        "not for diagnosis",
    ):
        assert word in printed
    objects = pd.read_parquet(out / "objects.parquet")
    assert 0.75 * COUNTED < len(objects) < 1.25 * COUNTED
    assert objects["pixels"].min() >= 20, "smaller ones are left out: the model says so"
    numbers = zarr.open_group(out / "labels.zarr", mode="r")["0"][...]
    assert sorted(np.unique(numbers[numbers > 0])) == sorted(objects["object"])
    found = json.loads((out / "polygons.qupath.geojson").read_text())["features"]
    kinds = [feature["properties"]["objectType"] for feature in found]
    assert kinds.count("detection") == len(objects)
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["limits"][0].startswith("Nuclei with a diameter")
    assert DEMOS["nuclei"].sample.stat().st_size < 1_000_000
