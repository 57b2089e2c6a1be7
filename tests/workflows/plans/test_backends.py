"""Runs by backend: the same bytes however they are cut up, the choice on record, refusals in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.errors import ChangedRunError, ModelError, UsageError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.options.parsers import parse_models
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment

HEIGHT, WIDTH = 560, 200  # two shards high


class Quiet:
    """Listens to a run and remembers its Plan."""

    plan: Any = None

    def warn(self, text: str) -> None:
        pass

    def stage(self, name: str) -> None:
        pass

    def planned(self, plan: Any) -> None:
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        pass


class TwoAtOnce(InProcess):
    """Asks for Regions for two workers, and does the last one first."""

    def start(self) -> Capacity:
        return Capacity(workers=2)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        return super().run(tasks[::-1], progress, interruption)


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backends") / "wide.tif"
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, HEIGHT // 10, WIDTH // 10), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(coarse.repeat(10, 1).repeat(10, 2))
    return path


def config(raster: Path, model: Path | str, out: Path, **changes: Any) -> RunConfig:
    settings = {"device": "cpu", "precision": "fp32", "batch": 2, "formats": ("zarr",), **changes}
    return RunConfig(str(raster), str(model), out, **settings)


def arrays(out: Path) -> tuple[np.ndarray, np.ndarray]:
    group = open_store(out / "classes.zarr")
    return group["classes"][:], group["confidence"][:]


BACKENDS = [  # torch: tests/laws/test_run.py
    pytest.param(
        "openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
    ),
    pytest.param(
        "onnx", marks=pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs the extra onnx")
    ),
    pytest.param("compile", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_do_not_depend_on_regions_and_the_record_keeps_the_backend(
    backend: str, raster: Path, small_model: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = segment(config(raster, small_model, whole, backend=backend), Quiet())
    assert result.report["choices"]["backend"] == backend
    assert json.loads((whole / ".segment-tiles" / "run.json").read_text())["choices"]["backend"] == backend
    listener = Quiet()
    segment(config(raster, small_model, cut, backend=backend), listener, TwoAtOnce())
    assert len(listener.plan.regions) > 1
    for ours, theirs in zip(arrays(whole), arrays(cut), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ChangedRunError, match=f"--backend was {backend}, is now torch"):
        segment(config(raster, small_model, whole, backend="torch"), Quiet())
    (trial,) = result.report["choices"]["trials"]
    assert trial["backend"] == backend
    assert trial["decided_agreement"] >= 0.999
    assert trial["largest_difference"] < 1e-3


def test_what_other_threads_measured_is_not_taken(
    raster: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the threads decide how many batches are in memory at once
    words = {"precision": "fp32", "batch": 3, "backend": "torch", "roi": (1000.0, 1900.0, 1200.0, 2000.0)}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    first = plan_run(config(raster, small_model, Path(), **words)).probe
    assert plan_run(config(raster, small_model, Path(), **words)).probe == first
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert plan_run(config(raster, small_model, Path(), **words)).probe != first


@pytest.mark.slow
def test_an_average_of_turns_and_models_obeys_the_laws(
    raster: Path, small_model: Path, tmp_path: Path
) -> None:
    twin = Path(shutil.copytree(small_model, tmp_path / "twin"))
    alone, both, cut = tmp_path / "alone", tmp_path / "both", tmp_path / "cut"
    # two rows of shards, which two workers share
    part = {"backend": "torch", "roi": (1000.0, 1440.0, 1100.0, 2000.0)}
    segment(config(raster, small_model, alone, augmentation="flips", **part), Quiet())
    settings = {"augmentation": "flips", "companions": (str(twin),), **part}
    segment(config(raster, small_model, both, **settings), Quiet())
    segment(config(raster, small_model, cut, **settings), Quiet(), TwoAtOnce())
    for ours, theirs in zip(arrays(both), arrays(cut), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # a model and its twin are the model
    np.testing.assert_array_equal(arrays(alone)[0], arrays(both)[0])
    with pytest.raises(ChangedRunError, match="--tta was flips, is now None"):
        segment(config(raster, small_model, alone, **part), Quiet())
    with pytest.raises(ChangedRunError, match="further --model was None"):
        segment(config(raster, small_model, alone, **settings), Quiet())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backend": "tensorflow"},
            "--backend is 'tensorflow'; it must be one of auto, compile, onnx",
        ),
        ({"augmentation": "all"}, "--tta is 'all'; it must be one of none, flips, rotations"),
        ({"backend": "onnx", "precision": "bf16"}, "--backend onnx does not compute in --precision bf16"),
    ],
)
def test_words_are_checked(raster: Path, small_model: Path, changes: dict[str, Any], message: str) -> None:
    if changes.get("backend") == "onnx":
        pytest.importorskip("onnxscript")
    with pytest.raises(UsageError, match=message):
        plan_run(config(raster, small_model, Path(), **changes))


def test_models_of_other_classes_are_refused(raster: Path, small_model: Path) -> None:
    with pytest.raises(ModelError, match="models small and canopy-rgb cannot be one ensemble: classes"):
        plan_run(config(raster, small_model, Path(), companions=("canopy-rgb",)))
    assert parse_models("a, b") == ("a", "b")
    with pytest.raises(UsageError, match="several different ones"):
        parse_models("a,a")
