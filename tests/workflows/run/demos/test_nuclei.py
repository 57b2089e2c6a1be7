"""`segment-tiles demo nuclei`: one object, detection and number for each nucleus, near what people counted."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.demo import DEMOS
from segment_tiles.workflows.scenes.registry import open_scene

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


@pytest.mark.parametrize("bands", [(1, 1, 1), (3, 2, 1)])
def test_chosen_bands_of_a_picture_stay_chosen_where_its_micrometres_are_said(
    bands: tuple[int, ...], tmp_path: Path
) -> None:
    # a scaling by statistics of the scene opens the source again, by the numbers of its bands
    picture = str(DEMOS["nuclei"].sample)
    config = RunConfig(picture, "nuclei", tmp_path / "map", bands=bands, source_mpp=0.25, tissue="off")
    scene = open_scene(config)
    with closing(scene.result.opener.open()) as opened:
        (source,) = opened.sources([0])
        found = source.read(Window(0, 0, 16, 16))
    stored = np.asarray(Image.open(picture))[:16, :16]
    assert np.array_equal(found, np.stack([stored[..., band - 1] for band in bands]))
