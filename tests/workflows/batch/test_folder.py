"""A folder of pictures as a source: each as a run alone gives it, one table, nothing left out without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.batch.sources.several import several_jobs
from segment_tiles.workflows.config import RunConfig


def write(path: Path, seed: int, **options: Any) -> Path:
    values = (
        np.random.default_rng(seed).integers(0, 255, (3, 9, 8), dtype=np.uint8).repeat(10, 1).repeat(10, 2)
    )
    profile = {
        "driver": "GTiff",
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000),
        **options,
    }
    with rasterio.open(path, "w", width=80, height=90, count=3, dtype="uint8", **profile) as dataset:
        dataset.write(values)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for seed, name in enumerate(("b.tif", "a.tif")):
        write(folder / name, seed)
    write(folder / "a.png", 2, driver="PNG", crs=None, transform=None)
    (folder / "notes.txt").write_text("no picture")
    (folder / "b.tfw").write_text("1\n0\n0\n-1\n1000.5\n1999.5\n")
    (folder / ".hidden.tif").write_text("no picture")
    return folder


def words(folder: Path, model: Path, out: Path) -> list[str]:
    return [
        str(folder), "--model", str(model), "--out", str(out), "--precision", "fp32", "--device", "cpu",
        "--format", "zarr",
    ]  # fmt: skip


def test_every_picture_is_as_in_a_run_alone(
    pictures: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    assert run_command_line(["run", *words(pictures, small_model, out), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["states"] == {"done": 3}
    assert [row["job"] for row in document["jobs"]] == ["a.png", "a.tif", "b"]
    assert "left out: 1 file that is no picture (notes.txt) and 1 folder (more)" in " ".join(
        printed.err.split()
    )
    assert len(pd.read_csv(out / "jobs.csv")) == 3
    assert (out / "collection.json").exists()
    for job, picture in (("a.png", "a.png"), ("a.tif", "a.tif"), ("b", "b.tif")):
        alone = tmp_path / f"alone-{job}"
        assert run_command_line(["run", *words(pictures / picture, small_model, alone), "--quiet"]) == 0
        for array in ("classes", "confidence"):
            ours, theirs = (open_store(where / "classes.zarr")[array][:] for where in (out / job, alone))
            np.testing.assert_array_equal(ours, theirs)
    assert run_command_line(["run", *words(pictures, small_model, out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"skipped": 3}


def test_one_that_is_damaged_fails_alone(
    pictures: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "b.tif").write_bytes(b"II*\0 and nothing more")
    plan = ["plan", *words(pictures, small_model, tmp_path / "maps"), "--json"]
    assert run_command_line(plan) == 2
    assert json.loads(capsys.readouterr().out)["summary"]["would_fail"] == 1
    assert run_command_line(["run", *words(pictures, small_model, tmp_path / "maps"), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["states"] == {"done": 2, "failed": 1}
    assert "segment-tiles: failed: b: " in printed.err
    assert "1 job failed; the same command tries them again" in printed.err


def test_a_folder_that_is_one_source_is_one(pictures: Path, small_model: Path, tmp_path: Path) -> None:
    assert (
        run_command_line(["run", *words(pictures / "a.tif", small_model, tmp_path / "out"), "--quiet"]) == 0
    )
    store = tmp_path / "out" / "classes.zarr"
    assert several_jobs(RunConfig(str(store), str(small_model), tmp_path / "maps")) is None
    assert several_jobs(RunConfig(str(pictures / "a.tif"), str(small_model), tmp_path / "maps")) is None


def test_a_folder_without_pictures_is_refused(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    assert run_command_line(["run", *words(tmp_path / "empty", small_model, tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("segment-tiles: error: ")
    assert len(error.splitlines()) == 1
