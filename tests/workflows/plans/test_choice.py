"""The Choice: made once for a model and a machine, and the same for every later run, scene and worker."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.models.backends.conversions import BESIDE
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.trials import PrecisionTrial
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.run import run_batch
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute import model_probe
from segment_tiles.workflows.plans.compute.kept_choice import Choice, ChoiceFile, choice_file
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")


class Listening:
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.stages: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def planned(self, plan: object) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None: ...

    def job_starts(self, job: object, total: int) -> None: ...

    def job_ends(self, outcome: object) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture
def unknown_model(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that this machine has never run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(small_model, tmp_path / "model", ignore=shutil.ignore_patterns(BESIDE)))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", 200, 150, 0)


def write_scene(path: Path, height: int, width: int, seed: int) -> Path:
    values = np.random.default_rng(seed).integers(0, 255, (3, height // 10, width // 10), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values.repeat(10, 1).repeat(10, 2))
    return path


def config(scene: Path, model: Path, out: Path, **changes: Any) -> RunConfig:
    return RunConfig(str(scene), str(model), out, **{"device": "cpu", "formats": ("zarr",), **changes})


def kept_for(model: Path) -> ChoiceFile:
    return choice_file([load_manifest(model).network_checksum], "cpu")


def pair_of(report: Any) -> tuple[str, str]:
    return report["choices"]["backend"], report["choices"]["precision"]


@needs_openvino
def test_it_is_measured_once_and_counts_for_every_later_run(
    unknown_model: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_run(config(scene, unknown_model, tmp_path / "first"))
    assert before.probe.chosen == model_probe.NOT_YET
    assert not list((unknown_model / BESIDE).glob("openvino*")), "a Plan converts nothing"
    assert not kept_for(unknown_model).path.exists()

    listener = Listening()
    first = segment(config(scene, unknown_model, tmp_path / "first"), listener).report
    measured = {(trial["backend"], trial["precision"]): trial for trial in first["choices"]["trials"]}
    assert set(measured) == {(name, kind) for name in ("torch", "openvino") for kind in ("fp32", "bf16")}
    accepted = {pair: trial for pair, trial in measured.items() if trial["decided_agreement"] >= 0.999}
    assert pair_of(first) == min(accepted, key=lambda pair: accepted[pair]["seconds"])
    assert first["choices"]["chosen"] == "measured now"
    assert [stage for stage in listener.stages if "measured once for this model and machine" in stage]

    def fails(*_: object) -> None:
        raise AssertionError("a tile was read, or a network compared, although there is a Choice")

    monkeypatch.setattr("segment_tiles.workflows.run.scene_probe.sample_tiles", fails)
    monkeypatch.setattr(model_probe, "measured_choice", fails)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # the load and the threads of the moment do not matter
    large = write_scene(tmp_path / "large.tif", 700, 500, 1)
    for source in (scene, large):
        listener = Listening()
        out = tmp_path / f"again-{source.stem}"
        report = segment(config(source, unknown_model, out, batch=1), listener).report
        assert pair_of(report) == pair_of(first)
        assert report["choices"]["chosen"].startswith("chosen on 20")
        assert not listener.stages[:1] or "measured once" not in listener.stages[0]
    after = plan_run(config(scene, unknown_model, tmp_path / "another"))
    assert (after.probe.backend, after.probe.precision) == pair_of(first)


def test_workers_take_what_a_run_in_process_took(unknown_model: Path, scene: Path, tmp_path: Path) -> None:
    alone = segment(config(scene, unknown_model, tmp_path / "alone"), Listening()).report
    others = segment(config(scene, unknown_model, tmp_path / "workers", workers=2), Listening()).report
    assert pair_of(others) == pair_of(alone)
    for name in ("classes", "confidence"):
        ours, theirs = (open_store(tmp_path / out / "classes.zarr")[name][:] for out in ("alone", "workers"))
        np.testing.assert_array_equal(ours, theirs)


def choice_with(trials: dict[tuple[str, str], tuple[float, float]], pair: tuple[str, str] | None) -> Choice:
    """Return a Choice of trials given as seconds and agreement of decided pixels."""
    return Choice(
        tuple(
            PrecisionTrial(precision, share - 0.01, 0.1, seconds, backend, decided_agreement=share)
            for (backend, precision), (seconds, share) in trials.items()
        ),
        pair,
    )


def test_versions_and_processors_are_part_of_it_and_a_new_one_is_said_once(
    unknown_model: Path, scene: Path, tmp_path: Path
) -> None:
    kept = kept_for(unknown_model)
    kept.keep(choice_with({("torch", "fp32"): (1.0, 1.0)}, ("torch", "fp32")))
    fields = json.loads(kept.path.read_text())
    fields["versions"]["torch"] = "1.0"
    kept.path.write_text(json.dumps(fields))
    assert kept.read() is None
    first, second = Listening(), Listening()
    chosen = pair_of(segment(config(scene, unknown_model, tmp_path / "a", backend="auto"), first).report)
    assert [
        text for text in first.warnings if "had been chosen with torch 1.0, and were chosen again" in text
    ]
    assert pair_of(segment(config(scene, unknown_model, tmp_path / "b"), second).report) == chosen
    assert not [text for text in second.warnings if "chosen again" in text]

    kept.path.rename(kept.path.with_name(kept.path.name.replace(kept.path.name[17:], "0123456789ab.json")))
    third = Listening()
    segment(config(scene, unknown_model, tmp_path / "c"), third)
    assert [text for text in third.warnings if "had been chosen with another processor or device" in text]


def test_what_the_user_names_is_taken_with_both_figures(
    unknown_model: Path, scene: Path, tmp_path: Path
) -> None:
    trials = {("torch", "fp32"): (2.0, 1.0), ("torch", "bf16"): (1.0, 0.98)}
    kept_for(unknown_model).keep(choice_with(trials, ("torch", "fp32")))
    listener = Listening()
    report = segment(
        config(scene, unknown_model, tmp_path / "named", precision="bf16", backend="torch"), listener
    ).report
    assert pair_of(report) == ("torch", "bf16")
    assert [
        text for text in listener.warnings if "98.00% of the decided pixels and 97.00% of all pixels" in text
    ]
    left_open = Listening()
    assert pair_of(segment(config(scene, unknown_model, tmp_path / "auto"), left_open).report) == (
        "torch",
        "fp32",
    )
    assert not left_open.warnings or "decided" not in "".join(left_open.warnings)


def test_the_first_of_two_that_measured_at_once_counts(unknown_model: Path) -> None:
    kept = kept_for(unknown_model)
    slow = {("torch", "fp32"): (2.0, 1.0)}
    ours = kept.keep(choice_with({**slow, ("torch", "bf16"): (1.0, 1.0)}, ("torch", "bf16")))
    theirs = kept.keep(choice_with({**slow, ("openvino", "fp32"): (0.5, 1.0)}, ("openvino", "fp32")))
    assert theirs.pair == ours.pair == ("torch", "bf16")
    assert {trial.pair for trial in theirs.trials} == {
        ("torch", "fp32"),
        ("torch", "bf16"),
        ("openvino", "fp32"),
    }


def test_scenes_of_a_batch_have_one_choice_though_nothing_can_be_kept(
    unknown_model: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    calls = []
    made = model_probe.measured_choice

    def counted(*arguments: Any) -> Choice:
        calls.append(arguments)
        return made(*arguments)

    monkeypatch.setattr(model_probe, "measured_choice", counted)
    jobs = tmp_path / "jobs.json"
    scenes = [{"source": str(scene), "out": str(tmp_path / name)} for name in ("a", "b", "c")]
    settings = {"model": str(unknown_model), "device": "cpu", "format": ["zarr"]}
    jobs.write_text(json.dumps({"results": str(tmp_path / "table"), "defaults": settings, "jobs": scenes}))
    done = run_batch(read_jobs_file(jobs), Listening())
    assert not done.failures
    assert len(calls) == 1
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("a", "b", "c")]
    assert len({pair_of(report) for report in reports}) == 1


def test_a_run_that_is_taken_up_keeps_its_own(unknown_model: Path, scene: Path, tmp_path: Path) -> None:
    kept = kept_for(unknown_model)
    both = {("torch", "fp32"): (2.0, 1.0), ("torch", "bf16"): (1.0, 1.0)}
    kept.keep(choice_with(both, ("torch", "bf16")))
    assert pair_of(segment(config(scene, unknown_model, tmp_path / "out"), Listening()).report)[1] == "bf16"
    kept.path.unlink()
    kept.keep(choice_with(both, ("torch", "fp32")))
    shutil.rmtree(tmp_path / "out" / "classes.zarr")
    (tmp_path / "out" / "report.json").unlink()
    again = segment(config(scene, unknown_model, tmp_path / "out"), Listening()).report
    assert pair_of(again) == ("torch", "bf16")
    assert again["choices"]["chosen"] == "as this run was begun"
    fresh = segment(replace(config(scene, unknown_model, tmp_path / "out"), restart=True), Listening()).report
    assert pair_of(fresh) == ("torch", "fp32")


def test_another_scaling_has_a_choice_of_its_own(unknown_model: Path, scene: Path, tmp_path: Path) -> None:
    """What agrees with float32 on values of one size may not on those of another."""

    def kept(source: Path, scaling: str | None) -> Path:
        asked = config(source, unknown_model, tmp_path / "out", scaling=scaling)
        return model_probe.kept_with(plan_run(asked).scene, "cpu").path

    other = write_scene(tmp_path / "other.tif", 150, 200, 7)
    assert kept(scene, None) == kept(other, None) == kept_for(unknown_model).path
    assert kept(scene, "z-score:scene") == kept(other, "z-score:scene"), "its numbers are those of a scene"
    assert len({kept(scene, scaling) for scaling in (None, "none", "z-score:scene")}) == 3
