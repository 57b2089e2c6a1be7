"""World file, CRS and nodata beside a raster count for every command, though the environment says to list no folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import yaml
from numpy.typing import NDArray

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.outputs.stores.store import open_store, read_georef

Call = Callable[..., Any]
BAND = '<PAMRasterBand band="1"><NoDataValue>{}</NoDataValue></PAMRasterBand>'
PAM = f"<PAMDataset><SRS>EPSG:32633</SRS>{BAND}</PAMDataset>"
PLACE = (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)
BOX = (500100, 4999800, 500500, 4999900)
"""West, south, east, north of a part: columns 10 to 50, rows 10 to 20."""
SETTINGS = {"precision": "fp32", "device": "cpu", "backend": "torch", "batch": 4, "format": ["zarr"]}


@dataclass(frozen=True)
class Files:
    """A picture and a map of classes that lie where the files beside them say, and what they hold."""

    folder: Path
    values: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    model: Path

    @property
    def words(self) -> list[str]:
        """Options of `run` that make it short."""
        words = ["--model", str(self.model)]
        for name, value in SETTINGS.items():
            words += [f"--{name}", ",".join(value) if isinstance(value, list) else str(value)]
        return words

    @property
    def expected(self) -> NDArray[np.uint8]:
        """What a run gives of the picture: 7 is no data."""
        return np.where(self.values == 7, 255, self.values > 100).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path, made: ModuleType, threshold_model: Call, unlisted_folders: None) -> Files:
    values = made.blanked(made.noise(1, low=8), 7)
    codes = made.blanked(made.noise(1, low=0, high=1), 9)
    for name, content, nodata in (("scene", values, 7), ("codes", codes, 9)):
        made.write(tmp_path / f"{name}.tif", content, crs=None, transform=None)
        (tmp_path / f"{name}.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
        (tmp_path / f"{name}.tif.aux.xml").write_text(PAM.format(nodata))
    return Files(tmp_path, values[0], codes[0], threshold_model(1, 100.5))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Return what a command prints as JSON."""
    assert run_command_line([*words, "--json"]) == 0, capsys.readouterr().err
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def assert_map(store: Path, expected: NDArray[np.uint8], place: tuple[float, ...] = PLACE) -> None:
    """Compare codes, transform and CRS of a store."""
    group = open_store(store)
    assert np.array_equal(np.asarray(group["classes"]), expected)
    georef = read_georef(group)
    assert georef.transform == place
    assert georef.crs is not None
    assert georef.crs.to_epsg() == 32633


def test_info(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "info", str(files.folder / "scene.tif"))
    assert tuple(said["transform"]) == PLACE
    assert rasterio.CRS.from_wkt(said["crs_wkt"]).to_epsg() == 32633
    assert said["band_details"][0]["nodata"] == 7


def test_plan(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    box = ",".join(map(str, BOX))
    told(capsys, "plan", str(files.folder / "scene.tif"), *files.words, "--roi", box)


def test_run(files: Files) -> None:
    out, box = files.folder / "out", ",".join(map(str, BOX))
    words = ["run", str(files.folder / "scene.tif"), *files.words, "--roi", box, "--out", str(out), "--quiet"]
    assert run_command_line(words) == 0
    assert_map(
        out / "classes.zarr", files.expected[10:20, 10:50], (10.0, 0.0, 500100.0, 0.0, -10.0, 4999900.0)
    )


@pytest.mark.parametrize("is_mosaic", [False, True])
def test_batch(files: Files, is_mosaic: bool) -> None:
    out = files.folder / "maps"
    job = {"source": str(files.folder / "scene.tif"), "out": str(out), "model": str(files.model), **SETTINGS}
    jobs = files.folder / "jobs.yaml"
    jobs.write_text(
        yaml.safe_dump({"jobs": [{**job, **({"name": "m", "mosaic": True} if is_mosaic else {})}]})
    )
    assert run_command_line(["batch", str(jobs), "--quiet"]) == 0
    assert_map(out / "classes.zarr", files.expected)


def test_polygonize(files: Files) -> None:
    out = files.folder / "p.gpkg"
    assert (
        run_command_line(["polygonize", str(files.folder / "codes.tif"), "--out", str(out), "--quiet"]) == 0
    )
    frame: geopandas.GeoDataFrame = pyogrio.read_dataframe(out, layer="p")
    assert frame.crs.to_epsg() == 32633
    assert frame.groupby("class_code")["pixels"].sum().to_dict() == {
        code: int((files.codes == code).sum()) for code in (0, 1)
    }
    assert tuple(frame.total_bounds) == (500000, 5000000 - 610, 500000 + 750, 5000000)


def test_categories_beside_a_raster_name_its_classes(files: Files) -> None:
    """Without them the polygons would be called by their codes."""
    names = "<CategoryNames><Category>water</Category><Category>wood</Category></CategoryNames>"
    sidecar = files.folder / "codes.tif.aux.xml"
    sidecar.write_text(sidecar.read_text().replace("</PAMRasterBand>", f"{names}</PAMRasterBand>"))
    out = files.folder / "p.gpkg"
    assert (
        run_command_line(["polygonize", str(files.folder / "codes.tif"), "--out", str(out), "--quiet"]) == 0
    )
    frame = pyogrio.read_dataframe(out, layer="p")
    assert dict(zip(frame["class_code"], frame["class_name"], strict=True)) == {0: "water", 1: "wood"}


def test_evaluate(files: Files, made: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    truth = made.write(files.folder / "truth.tif", np.zeros((1, *files.codes.shape), np.uint8))
    for class_map, other in (("codes.tif", truth.name), (truth.name, "codes.tif")):
        words = ["evaluate", str(files.folder / class_map), str(files.folder / other), "--classes", "a,b"]
        counted = files.codes != 9
        right = ((files.codes == 0) & counted).sum()
        assert told(capsys, *words)["accuracy"] == pytest.approx(right / counted.sum())


def test_train(files: Files) -> None:
    settings = {"name": "scene", "raster": "scene.tif", "labels": "codes.tif"}
    opened = LabelledScene(SceneSettings.model_validate(settings), files.folder, ("a", "b"))
    spec = opened.source.spec
    assert spec.georef.transform == PLACE
    assert spec.georef.crs is not None
    assert spec.georef.crs.to_epsg() == 32633
    assert np.array_equal(
        opened.source.valid(spec.window, opened.source.read(spec.window)), files.values != 7
    )
    labels = opened.labels.read(spec.window)
    assert np.array_equal(labels[files.codes != 9], files.codes[files.codes != 9])
    assert np.unique(labels[files.codes == 9]).tolist() == [255]
    opened.source.close()
    opened.labels.close()
