"""A model package is part of a run: weights, scaling and classes stay what they were, or the run says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.errors import ChangedRunError, ModelError
from segment_tiles.pipeline.models.package import MANIFEST_FILE, load_manifest
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.regions.loaded_model import ModelRequest, forget_segmenters, load_scorer
from segment_tiles.workflows.run.segment import segment


def copied(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder / "model")
    return folder / "model"


class Silent:
    """Hears nothing."""

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None: ...

    def planned(self, plan: Any) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...


def scaling_changed(model: Path) -> None:
    """Change a number in model.json, as an editor does; the weights stay."""
    document = json.loads((model / MANIFEST_FILE).read_text())
    document["properties"]["mlm:input"][0]["value_scaling"][0]["stddev"] *= 2
    (model / MANIFEST_FILE).write_text(json.dumps(document))


def run_of(model: Path, folder: Path) -> RunConfig:
    scene = folder / "scene.tif"
    if not scene.exists():
        values = np.random.default_rng(0).integers(0, 255, (3, 80, 90), np.uint8)
        with rasterio.open(
            scene, "w", driver="GTiff", count=3, height=80, width=90, dtype="uint8"
        ) as dataset:
            dataset.write(values)
    fixed: dict[str, Any] = {
        "precision": "fp32",
        "backend": "torch",
        "batch": 2,
        "device": "cpu",
        "formats": (),
    }
    return RunConfig(str(scene), str(model), folder / "out", **fixed)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_run_is_not_taken_up_with_another_scaling(small_model: Path, tmp_path: Path) -> None:
    model = copied(small_model, tmp_path)
    segment(run_of(model, tmp_path), Silent())
    segment(run_of(model, tmp_path), Silent())
    before = load_manifest(model)
    scaling_changed(model)
    assert load_manifest(model).weights_checksum == before.weights_checksum
    assert load_manifest(model).std != before.std
    with pytest.raises(ChangedRunError, match=r"model\.json was"):
        segment(run_of(model, tmp_path), Silent())


def test_a_worker_refuses_a_package_that_was_edited_meanwhile(small_model: Path, tmp_path: Path) -> None:
    model = copied(small_model, tmp_path)
    request = ModelRequest(((str(model), load_manifest(model).map_checksum),), "cpu")
    forget_segmenters()
    load_scorer(request)
    scaling_changed(model)
    forget_segmenters()
    with pytest.raises(ModelError, match=r"its weights or its model\.json are not those"):
        load_scorer(request)


def test_what_people_read_may_change(small_model: Path, tmp_path: Path) -> None:
    model = copied(small_model, tmp_path)
    before = load_manifest(model)
    document = json.loads((model / MANIFEST_FILE).read_text())
    document["properties"]["description"] = "another text"
    (model / MANIFEST_FILE).write_text(json.dumps(document))
    after = load_manifest(model)
    assert after.description != before.description
    assert after.map_checksum == before.map_checksum


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("brain-tissue", "c1206e57957cb7c8994c56891d2010913fd32ade453e96366c90598253c01547"),
        ("canopy-rgb", "7dc29457ee538407274969d6292bb861b52ca5c366bcb3180085919dc19d5db6"),
    ],
)
def test_runs_of_bundled_models_that_were_begun_by_earlier_versions_are_taken_up(
    name: str, checksum: str
) -> None:
    # as commit b7ef550 computed them, before a package said how its output lies
    assert load_manifest(find_model(name)).map_checksum == checksum


@dataclass(frozen=True, slots=True)
class LaterGeometry(OutputGeometry):
    """As of a version that says more of outputs."""

    turned: bool = False


def test_a_field_that_is_added_later_changes_no_checksum(small_model: Path) -> None:
    manifest = load_manifest(small_model)

    def checksum(output: OutputGeometry) -> str:
        return replace(manifest, output=output).map_checksum

    assert checksum(LaterGeometry()) == checksum(OutputGeometry()) == manifest.map_checksum
    assert checksum(LaterGeometry(margin=4)) == checksum(OutputGeometry(margin=4)) != manifest.map_checksum
    assert checksum(LaterGeometry(margin=4, turned=True)) != checksum(OutputGeometry(margin=4))
