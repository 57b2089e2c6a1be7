"""Whole runs: real scenes, outputs that readers open, failures that are listed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
import zarr
from pyproj import CRS
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import box

from segment_tiles.pipeline.errors import OutputError, PlanError, UsageError, WriteFailedError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment


class Recorder:
    """Listens and remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.stages: list[str] = []
        self.done = 0
        self.plan: Any = None

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def planned(self, plan: Any) -> None:
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        self.done += computed + skipped


def config(source: Path, model: Path | str, out: Path, **changes: Any) -> RunConfig:
    settings = {"precision": "fp32", "device": "cpu", **changes}
    return RunConfig(str(source), str(model), out, **settings)


def write(path: Path, values: np.ndarray, **profile: Any) -> Path:
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000)}
    with rasterio.open(
        path, "w", count=values.shape[0], height=values.shape[1], width=values.shape[2],
        dtype=values.dtype.name, **{**settings, **profile},
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory, aerial_crop: Path) -> tuple[Path, Recorder]:
    """The scene that ships with the program through the model that does."""
    out, listener = tmp_path_factory.mktemp("demo") / "out", Recorder()
    segment(config(aerial_crop, "canopy-rgb", out), listener)
    return out, listener


def test_every_output_of_a_real_scene_opens(demo_run: tuple[Path, Recorder], aerial_crop: Path) -> None:
    out, listener = demo_run
    assert listener.warnings == []
    assert listener.done == listener.plan.tiles
    report = json.loads((out / "report.json").read_text())
    assert report["status"] == "complete"
    assert sorted(report["outputs"]) == sorted(
        ["classes.zarr", "classes.tif", "polygons.parquet", "preview.png", "report.json", "item.json"]
    )
    assert all((out / name).exists() for name in report["outputs"])
    assert cog_validate(out / "classes.tif", quiet=True)[0]
    with rasterio.open(aerial_crop) as scene, rasterio.open(out / "classes.tif") as result:
        assert result.transform == scene.transform
        assert result.crs == scene.crs
        assert result.shape == scene.shape
        codes = result.read(1)
    group = open_store(out / "classes.zarr")
    assert isinstance(group["classes"], zarr.Array)
    np.testing.assert_array_equal(group["classes"][:], codes)
    assert "1/classes" in group
    pixels = {entry["code"]: entry["pixels"] for entry in report["classes"]}
    assert pixels == {code: int((codes == code).sum()) for code in pixels}
    polygons = gpd.read_parquet(out / "polygons.parquet")
    assert polygons.crs == CRS.from_wkt(result.crs.to_wkt())
    assert polygons.area.sum() == pytest.approx(codes.size * 0.01)
    item = pystac.Item.from_file(str(out / "item.json"))
    item.validate_core = True  # the extension schemas are not to be had offline
    assert {"classes", "preview", "report"} <= set(item.assets)


def test_the_demo_map_is_a_map_of_trees(demo_run: tuple[Path, Recorder], shared_data: Path) -> None:
    """The crowns that people drew lie under canopy far more often than the rest does."""
    out, _ = demo_run
    crowns = gpd.read_file(shared_data / "aerial" / "yellowstone_crowns.geojson")
    with rasterio.open(out / "classes.tif") as result:
        inside = crowns.clip_by_rect(*result.bounds).centroid
        inside = inside[~inside.is_empty]
        samples = [value[0] for value in result.sample([(p.x, p.y) for p in inside])]
        share = float((result.read(1) == 1).mean())
    hits = float(np.mean(np.array(samples) == 1))
    assert len(samples) > 50
    assert hits > share + 0.25


def test_two_pixels_of_tolerance_leave_a_fifth_of_the_vertices_of_the_demo_map(
    demo_run: tuple[Path, Recorder], tmp_path: Path
) -> None:
    out, _ = demo_run
    layers = []
    for tolerance in (0.0, 2.0):
        options = PolygonizeOptions(simplify=tolerance)
        report = polygonize(out, [tmp_path / f"{tolerance}.parquet"], options)
        layers.append(gpd.read_parquet(report.files[0]).set_index("id").sort_index())
    exact, simple = layers
    assert exact.count_coordinates().sum() >= 5 * simple.count_coordinates().sum()
    assert (exact.index == simple.index).all()
    assert simple.is_valid.all()
    assert shapely.coverage_is_valid(simple.geometry.array)
    assert simple.area.sum() == pytest.approx(exact.area.sum())
    assert exact.boundary.hausdorff_distance(simple.boundary).max() <= 2 * 0.1 + 1e-6  # pixels of 0.1 m


def test_a_scene_of_another_kind_runs_with_one_warning(shared_data: Path, tmp_path: Path) -> None:
    """Landsat 8: uint16, bands blue, green, red, a black corner, no declared nodata."""
    scene, listener = shared_data / "landsat8" / "scene.tif", Recorder()
    with pytest.raises(UsageError, match=r"has pixels of 30 m and would be enlarged 300 times .* or native"):
        segment(config(scene, "canopy-rgb", tmp_path, nodata=0.0), listener)
    native = {"nodata": 0.0, "resolution": "native", "formats": ("zarr", "cog")}
    result = segment(config(scene, "canopy-rgb", tmp_path, **native), listener)
    about_type = [text for text in listener.warnings if "uint16" in text]
    assert len(about_type) == 1
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "classes.tif") as classes:
        assert (classes.crs, classes.transform, classes.shape) == (source.crs, source.transform, source.shape)
        empty = (source.read() == 0).all(axis=0)
        np.testing.assert_array_equal(classes.read(1) == classes.nodata, empty)
    assert result.report["nodata"]["pixels"] == empty.sum() > 0
    assert result.report["source"]["bands"] == [3, 2, 1], "bands are found by their names"


def test_an_aoi_decides_what_is_computed(small_model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 300, 300), dtype=np.uint8)
    scene = write(tmp_path / "a.tif", values)
    gpd.GeoDataFrame(geometry=[box(1000, 1950, 1060, 2000)], crs=32633).to_file(tmp_path / "aoi.gpkg")
    aoi = tmp_path / "aoi.gpkg"
    plan = plan_run(config(scene, small_model, tmp_path, aoi=aoi))
    result = segment(config(scene, small_model, tmp_path / "out", aoi=aoi, formats=("zarr",)), Recorder())
    assert plan.tiles - plan.skipped == result.report["tiles"]["computed"] < 8
    whole = segment(config(scene, small_model, tmp_path / "whole", formats=("zarr",)), Recorder())
    part, everything = (open_store(tmp_path / name / "classes.zarr")["classes"] for name in ("out", "whole"))
    np.testing.assert_array_equal(part[:50, :60], everything[:50, :60])
    assert (part[50:] == 255).all()
    assert whole.report["tiles"]["skipped"] == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 97), (63, 65), (130, 1)])
def test_rasters_of_odd_sizes(small_model: Path, tmp_path: Path, height: int, width: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, height, width), dtype=np.uint8)
    segment(config(write(tmp_path / "a.tif", values), small_model, tmp_path / "out"), Recorder())
    with rasterio.open(tmp_path / "out" / "classes.tif") as result:
        assert result.shape == (height, width)
        assert (result.read(1) < 3).all()


def test_a_raster_without_any_valid_pixel(small_model: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", np.zeros((3, 70, 80), dtype=np.uint8), nodata=0)
    result = segment(config(scene, small_model, tmp_path / "out"), Recorder())
    assert result.report["tiles"]["computed"] == 0
    assert result.report["nodata"]["pixels"] == 70 * 80


def replace_bytes(path: Path, content: bytes) -> None:
    """Change a file as a bad connection would: its size and its time of change stay."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_source_that_fails_is_listed_and_tried_again(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    values = np.random.default_rng(0).integers(0, 255, (3, 1500, 200), dtype=np.uint8)
    scene = write(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    whole = scene.read_bytes()
    start, stop = len(whole) * 11 // 20, len(whole) * 12 // 20
    replace_bytes(scene, whole[:start] + bytes(stop - start) + whole[stop:])
    settings = config(scene, small_model, tmp_path / "out", formats=("zarr",))
    first = segment(settings, Recorder())
    assert first.report["status"] == "incomplete"
    assert [failure["window"]["row"] for failure in first.failures] == [512]
    assert all("a.tif" in failure["reason"] for failure in first.failures)
    assert not (tmp_path / "out" / "classes.zarr").exists()
    listed = json.loads((tmp_path / "out" / "report.json").read_text())
    assert listed["failures"] == first.failures
    replace_bytes(scene, whole)
    again = segment(settings, Recorder())
    assert again.report["status"] == "complete"
    assert again.report["tiles"]["computed"] < first.report["tiles"]["computed"]
    reference = segment(config(scene, small_model, tmp_path / "other", formats=("zarr",)), Recorder())
    assert again.report["classes"] == reference.report["classes"]
    one, other = (open_store(tmp_path / name / "classes.zarr") for name in ("out", "other"))
    for name in ("classes", "confidence"):
        np.testing.assert_array_equal(one[name][:], other[name][:])


def test_a_source_that_changed_is_another_run(small_model: Path, tmp_path: Path) -> None:
    values = np.zeros((3, 70, 80), dtype=np.uint8)
    settings = config(write(tmp_path / "a.tif", values), small_model, tmp_path / "out", formats=("zarr",))
    segment(settings, Recorder())
    write(tmp_path / "a.tif", values + 1)
    with pytest.raises(OutputError, match="source version was"):
        segment(settings, Recorder())


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(small_model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 1100, 300), dtype=np.uint8)
    scene = write(tmp_path / "a.tif", values)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000));"
        "from segment_tiles.cli.main import run_command_line; sys.exit(run_command_line(sys.argv[1:]))"
    )
    words = ["run", scene, "--model", small_model, "--out", tmp_path / "out", "--format", "zarr", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "classes: cannot be written" in done.stderr
    assert not (tmp_path / "out" / "classes.zarr").exists()
    result = segment(RunConfig(str(scene), str(small_model), tmp_path / "out", formats=("zarr",)), Recorder())
    assert result.report["status"] == "complete"


def test_two_runs_in_one_directory(small_model: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", np.ones((3, 70, 80), dtype=np.uint8))
    with (
        OutputDirectory(tmp_path / "out").locked_for(),
        pytest.raises(OutputError, match="is at work here"),
    ):
        segment(config(scene, small_model, tmp_path / "out"), Recorder())


def test_memory_that_is_too_small_is_refused_with_the_need(small_model: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", np.ones((3, 70, 80), dtype=np.uint8))
    with pytest.raises(PlanError, match=r"--memory allows 10 MB, but one row of 64 px tiles .* takes"):
        plan_run(config(scene, small_model, tmp_path, memory=10_000_000))


def test_write_failures_are_errors_of_the_program() -> None:
    assert WriteFailedError.exit_status == 1


def test_a_run_does_without_preview_and_item_until_they_are_asked_for(
    small_model: Path, tmp_path: Path
) -> None:
    scene = write(tmp_path / "scene.tif", np.arange(27_000, dtype=np.uint8).reshape(3, 100, 90))
    bare = config(scene, small_model, tmp_path / "out", preview=False, item=False)
    report = segment(bare, Recorder()).report
    assert not {"preview.png", "item.json"} & {path.name for path in (tmp_path / "out").iterdir()}
    assert report["left_out"] == ["preview.png", "item.json"]
    assert segment(bare, Recorder()).was_finished
    whole = segment(replace(bare, preview=True, item=True), Recorder())
    assert not whole.was_finished
    assert {"preview.png", "item.json"} <= set(whole.report["outputs"])
    assert whole.report["left_out"] == []
    assert whole.report["tiles"]["computed"] == report["tiles"]["computed"], "nothing was computed again"
    again = segment(bare, Recorder())
    assert again.was_finished, "what is there is not in the way"
