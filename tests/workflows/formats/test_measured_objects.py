"""`--measure` of a run: the values of `polygonize` with the same raster, and refusals before computing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

import segment_tiles as st
from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.polygons.request import polygonize_as_asked

# x of 500060 to 500260 and y of 4999780 to 4999960: 90 x 100 pixels of the scene
ROI = (500060, 4999780, 500260, 4999960)
AS_RUN = {"objects": "tree"}


@pytest.fixture(scope="module")
def finished(blob_scene: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a part of the scene that measures it."""
    out: Path = tmp_path_factory.mktemp("measured") / "out"
    st.segment(
        blob_scene, model=small_model, out=out, roi=ROI, format="parquet,objects", measure="source",
        precision="fp32", device="cpu", preview=False, item=False, **AS_RUN,
    )  # fmt: skip
    return out


def test_values_are_those_of_polygonize(finished: Path, blob_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.parquet"
    polygonize_as_asked(
        polygonize_config_from(raster=str(finished), out=[out], measure=str(blob_scene), **AS_RUN)
    )
    assert out.read_bytes() == (finished / "polygons.parquet").read_bytes()
    rows = pandas.read_parquet(finished / "objects.parquet")
    assert {"band1_mean", "band2_std", "band3_q95"} <= set(rows.columns)
    assert rows["band1_mean"].notna().any()


def test_a_part_of_a_raster_has_its_own_values(finished: Path, blob_scene: Path, tmp_path: Path) -> None:
    import rasterio  # noqa: PLC0415
    from rasterio.windows import from_bounds  # noqa: PLC0415

    crop, out = tmp_path / "crop.tif", tmp_path / "crop.parquet"
    with rasterio.open(blob_scene) as scene:
        window = from_bounds(*ROI, scene.transform)
        place = {"height": 90, "width": 100, "transform": scene.window_transform(window)}
        with rasterio.open(crop, "w", **{**scene.profile, **place}) as made:
            made.write(scene.read(window=window))
    polygonize_as_asked(polygonize_config_from(raster=str(finished), out=[out], measure=str(crop), **AS_RUN))
    assert out.read_bytes() == (finished / "polygons.parquet").read_bytes()


def test_an_export_measures_the_source_of_its_run(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    words = ["--format", "parquet", "--objects", AS_RUN["objects"]]
    assert run_command_line(["export", str(copy), *words]) == 0
    assert "band1_mean" not in pandas.read_parquet(copy / "polygons.parquet")
    assert run_command_line(["export", str(copy), *words, "--measure", "source"]) == 0
    assert (copy / "polygons.parquet").read_bytes() == (finished / "polygons.parquet").read_bytes()


def test_a_batch_measures_each_scene(
    finished: Path, blob_scene: Path, small_model: Path, tmp_path: Path
) -> None:
    jobs: dict[str, Any] = {
        "defaults": {
            "model": str(small_model), "roi": list(ROI), "format": ["parquet"], "measure": "source",
            "objects": [AS_RUN["objects"]], "precision": "fp32", "device": "cpu",
        },
        "out": "maps/{stem}",
        "jobs": [{"source": str(blob_scene)}],
    }  # fmt: skip
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(jobs))
    assert run_command_line(["batch", str(tmp_path / "jobs.yaml"), "--quiet"]) == 0
    made = tmp_path / "maps" / blob_scene.stem / "polygons.parquet"
    assert made.read_bytes() == (finished / "polygons.parquet").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "is of objects, and no class has any; name one by --objects"),
        (["--objects", "tree", "--resolution", "3", "--grid", "model"], "give a raster on the grid of the map"),
        (["--objects", "tree", "--measure", "https://user:secret@localhost:9/a.tif"], "cannot be read"),
        (["--objects", "tree", "--format", "cog"], "--objects is of polygons, but no format has any"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    words: list[str], told: str, blob_scene: Path, small_model: Path, tmp_path: Path, capsys: Any
) -> None:
    asked = ["run", str(blob_scene), "--model", str(small_model), "--out", str(tmp_path / "out")]
    usual = ["--format", "parquet", "--measure", "source", "--precision", "fp32"]
    assert run_command_line([*asked, *usual, *words]) == 2
    error = capsys.readouterr().err
    assert told in error, error
    assert len(error.strip().splitlines()) == 1
    assert "secret" not in error
    assert not (tmp_path / "out" / "classes.zarr").exists()


def test_polygonize_knows_no_source(finished: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--objects", "tree", "--measure", "source", "--out", str(tmp_path / "a.parquet")]
    assert run_command_line(["polygonize", str(finished), *words]) == 2
    assert "--measure is source, which a run and an export know" in capsys.readouterr().err


def test_another_raster_to_measure_makes_the_polygons_again(
    finished: Path, blob_scene: Path, small_model: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    other = Path(shutil.copy(blob_scene, tmp_path / "other.tif"))
    st.segment(
        blob_scene, model=small_model, out=copy, roi=ROI, format="parquet,objects", measure=other,
        precision="fp32", device="cpu", preview=False, item=False, **AS_RUN,
    )  # fmt: skip
    assert (copy / "polygons.parquet").read_bytes() == (finished / "polygons.parquet").read_bytes()
    kept = json.loads((copy / ".segment-tiles" / "made.json").read_text())
    assert str(other) in json.dumps(kept)
