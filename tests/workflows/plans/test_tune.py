"""Tuning: cost per useful pixel, the side by the size of the raster, and runs that take what was kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.tuning import TuneConfig
from segment_tiles.workflows.plans.compute.kept_choice import Choice, ChoiceFile, Tuning, choice_file
from segment_tiles.workflows.plans.compute.tune import tune
from segment_tiles.workflows.regions.region_task import RegionReport
from segment_tiles.workflows.results.report import limiting_stage
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment


class Quiet:
    """Listens to a run without a word."""

    def warn(self, text: str) -> None:
        pass

    def stage(self, name: str) -> None:
        pass

    def planned(self, plan: Any) -> None:
        pass

    def tiles(self, computed: int, skipped: int) -> None:
        pass


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0.5, 2.0))
def test_the_side_is_the_one_with_which_the_raster_is_done_soonest(
    height: int, width: int, factor: float
) -> None:
    seconds = {512: 1.0, 1024: 4.0 * factor}
    tuned = Tuning(1, 128, seconds)
    side = tuned.tile_for(height, width)
    cost = {tile: Lattice(height, width, tile, 128).count * value for tile, value in seconds.items()}
    assert cost[side] == min(cost.values())


def test_small_rasters_keep_small_tiles() -> None:
    tuned = Tuning(1, 128, {512: 1.0, 1024: 3.9})
    assert tuned.tile_for(512, 512) == 512
    assert tuned.tile_for(20_000, 20_000) == 1024  # 3.9 seconds for 896 x 896, against 1 for 384 x 384


@pytest.fixture
def model(small_model: Path) -> Any:
    """The small model; what is kept for it is afterwards as it was."""
    kept = kept_for(small_model)
    before = kept.path.read_text()
    yield small_model
    kept.path.write_text(before)


def kept_for(model: Path) -> ChoiceFile:
    return choice_file([load_manifest(model).network_checksum], "cpu")


def keep(model: Path, precision: str, batch: int, seconds: dict[int, float], overlap: int = 16) -> Choice:
    kept = kept_for(model)
    before = kept.read() or Choice()
    return kept.keep(replace(before, pair=("torch", precision), tuning=Tuning(batch, overlap, seconds)))


def test_what_tune_kept_is_taken_and_a_run_that_goes_on_keeps_its_own(
    model: Path, aerial_crop: Path, tmp_path: Path
) -> None:
    config = RunConfig(str(aerial_crop), str(model), tmp_path / "out", device="cpu", formats=("zarr",))
    box = (0.0, 0.0, 300.0, 200.0)
    bounds = plan_run(config).scene.spec.georef.bounds(plan_run(config).scene.spec.window)
    config = replace(config, roi=(bounds[0], bounds[1], bounds[0] + box[2], bounds[1] + box[3]))
    keep(model, "bf16", 2, {64: 1.0, 128: 1.1})
    report = segment(config, Quiet()).report
    chosen = {name: report["choices"][name] for name in ("tuned", "precision", "batch", "backend")}
    assert chosen == {"tuned": True, "precision": "bf16", "batch": 2, "backend": "torch"}
    assert report["settings"]["--tile"] == 128
    assert report["settings"]["--overlap"] * 128 == 16
    assert report["seconds"]["limit"] in {"read", "compute", "write"}

    keep(model, "fp32", 1, {64: 1.0})
    assert segment(config, Quiet()).was_finished, "another tuning must not make it another run"
    named = plan_run(replace(config, batch=1))
    assert named.scene.lattice.tile == 64, "an option of the user leaves the tuning aside"
    assert named.probe.batch == 1
    elsewhere = plan_run(replace(config, scheduler=None, augmentation="flips"))
    assert elsewhere.scene.lattice.tile == 64


def test_a_damaged_record_is_no_record(model: Path) -> None:
    choice, kept = keep(model, "fp32", 1, {64: 1.0}), kept_for(model)
    assert kept.read() == choice
    kept.path.write_text(kept.path.read_text()[:-9])
    assert kept.read() is None
    kept.path.write_text(json.dumps({"pair": "torch"}))
    assert kept.read() is None


def test_tune_measures_and_keeps_the_cheapest_per_useful_pixel(model: Path) -> None:
    document = tune(TuneConfig(str(model), seconds=8), device="cpu")
    accepted = [row for row in document["measured"] if not row["refused"]]
    assert {(row["backend"], row["tile"]) for row in accepted} >= {("torch", 64)}
    for row in accepted:
        useful = (row["tile"] - document["overlap_pixels"]) ** 2
        assert row["nanoseconds_per_pixel"] == pytest.approx(1e9 * row["seconds_per_tile"] / useful)
        assert row["agreement"] >= 0.999
    # what is new has to be 3 % cheaper, at each of some dozen steps
    cheapest = min(row["nanoseconds_per_pixel"] for row in accepted)
    assert document["chosen"]["nanoseconds_per_pixel"] <= cheapest / 0.97
    kept = kept_for(model).read()
    assert kept is not None
    assert kept.tuning is not None
    assert kept.pair == (document["chosen"]["backend"], document["chosen"]["precision"])
    assert document["chosen"]["tile"] in kept.tuning.seconds_per_tile


def test_the_limit_is_what_the_others_waited_for() -> None:
    def limit(**seconds: float) -> str | None:
        return limiting_stage([RegionReport({name.replace("_", " "): s for name, s in seconds.items()})])

    assert limit(read=1.0, compute=9.0, write=2.0, compute_waited_for_read=0.5) == "compute"
    assert limit(read=9.0, compute=1.0, compute_waited_for_read=8.0) == "read"
    assert limit(compute=1.0, write=7.0, compute_waited_for_write=6.0) == "write"
    assert limiting_stage([]) is None
