"""int8: calibrated once on real tiles, kept by checksum, judged by decided pixels, the same bytes however it is run."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, PlanError, UsageError
from segment_tiles.pipeline.models.backends import int8
from segment_tiles.pipeline.models.backends.conversions import BESIDE
from segment_tiles.pipeline.models.calibration.calibrated import (
    Calibrated,
    copy_path,
    pack,
    read_calibrated,
    required_calibrated,
)
from segment_tiles.pipeline.models.calibration.kept import FEW_TILES, Calibrations, kept_calibrations, path_of
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.trials import PrecisionTrial
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.tuning import TuneConfig
from segment_tiles.workflows.plans.compute.compute_choice import (
    FLOAT32,
    ComputeOptions,
    decision_of,
    pairs_in_question,
)
from segment_tiles.workflows.plans.compute.kept_choice import Choice, choice_file
from segment_tiles.workflows.plans.compute.model_probe import NOT_CALIBRATED_YET
from segment_tiles.workflows.plans.compute.tune import tune
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.run import CALIBRATED_ONCE
from segment_tiles.workflows.run.segment import segment

needs_nncf = pytest.mark.skipif(
    find_spec("nncf") is None or find_spec("openvino") is None, reason="needs the extra int8"
)
SIDE = 64
"""Of a tile of the small model."""
INT8 = ("openvino", "int8")


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


class Stopping(Listening):
    """Fails a run when its first tiles are done, as a machine would."""

    def tiles(self, computed: int, skipped: int) -> None:
        if computed:
            raise RuntimeError("the machine stops")


@dataclass(frozen=True)
class FirstRun:
    """A model that was calibrated by its first run in int8, and that run."""

    cache: Path
    model: Path
    scene: Path
    out: Path
    planned: str
    report: Any
    stages: tuple[str, ...]


@pytest.fixture(scope="module")
def first_run(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    folder = tmp_path_factory.mktemp("int8")
    model = Path(shutil.copytree(small_model, folder / "model", ignore=shutil.ignore_patterns(BESIDE)))
    scene = write_scene(folder / "scene.tif", cells(600, 300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(int8, "LEFT_AT_MOST", 2)  # drawn weights never agree: all steps would be tried
        planned = plan_run(config(scene, model, folder / "out")).probe.chosen
        assert not kept_calibrations([load_manifest(model)], SIDE), "a Plan calibrates nothing"
        listener = Listening()
        report = segment(config(scene, model, folder / "out"), listener).report
    return FirstRun(folder / "cache", model, scene, folder / "out", planned, report, tuple(listener.stages))


@pytest.fixture
def first(first_run: FirstRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FirstRun:
    """The same; a test may change what is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shutil.copytree(first_run.cache, tmp_path / "cache")))
    return first_run


def write_scene(path: Path, values: Any) -> Path:
    _, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000), nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def cells(height: int, width: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(1, 255, (3, height // 20, width // 20), dtype=np.uint8)
    return values.repeat(20, 1).repeat(20, 2)


def config(scene: Path, model: Path, out: Path, **changes: Any) -> RunConfig:
    return RunConfig(
        str(scene), str(model), out,
        **{"device": "cpu", "formats": ("zarr",), "precision": "int8", "preview": False, **changes},
    )  # fmt: skip


def kept_network(model: Path) -> Calibrated:
    found = read_calibrated(path_of(load_manifest(model), SIDE))
    assert found is not None
    return found


def classes(out: Path) -> Any:
    return open_store(out / "classes.zarr")["classes"][:]


@needs_nncf
@pytest.mark.slow
def test_it_is_calibrated_once_and_gives_the_same_bytes_on_workers(first: FirstRun, tmp_path: Path) -> None:
    assert first.planned == NOT_CALIBRATED_YET
    assert CALIBRATED_ONCE in first.stages
    kept = kept_calibrations([load_manifest(first.model)], SIDE)
    choices = first.report["choices"]
    assert choices["calibrations"] == list(kept.checksums)
    assert (choices["backend"], choices["precision"]) == INT8
    described = kept_network(first.model).described
    assert described["scenes"] == [str(first.scene)]
    assert described["quantised"] >= 10
    assert not (first.out / ".segment-tiles" / "int8").exists(), "the copy goes when the run is at its end"

    listener = Listening()
    again = segment(config(first.scene, first.model, tmp_path / "again"), listener).report
    assert CALIBRATED_ONCE not in listener.stages
    assert again["choices"]["chosen"] == f"as named, calibrated on {kept.made}"
    segment(config(first.scene, first.model, tmp_path / "workers", workers=2), Listening())
    for other in ("again", "workers"):
        np.testing.assert_array_equal(classes(tmp_path / other), classes(first.out))

    segment(
        config(first.scene, first.model, tmp_path / "fp32", precision="fp32", backend="torch"), Listening()
    )
    (trial,) = [trial for trial in choices["trials"] if trial["precision"] == "int8"]
    same = (classes(tmp_path / "fp32") == classes(first.out)).mean()
    assert 1 > same > 0.95
    assert 1 > trial["agreement"] > 0.95


@pytest.mark.slow
@needs_nncf
def test_a_calibration_that_memory_cannot_hold_is_refused_before_it_begins(
    first: FirstRun, tmp_path: Path
) -> None:
    assert first.report["memory"]["planned"]["calibrating"] > 0
    path_of(load_manifest(first.model), SIDE).unlink()
    small = config(first.scene, first.model, tmp_path / "out", memory=10**9)
    for start in (plan_run, lambda asked: segment(asked, Listening())):
        with pytest.raises(PlanError, match="calibrating for --precision int8 may take"):
            start(small)
    assert not path_of(load_manifest(first.model), SIDE).exists()


@pytest.mark.slow
@needs_nncf
def test_a_run_that_goes_on_has_the_network_that_it_was_begun_with(first: FirstRun, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    with pytest.raises(RuntimeError, match="the machine stops"):
        segment(config(first.scene, first.model, out), Stopping())
    (copy,) = (out / ".segment-tiles" / "int8").glob("*.zip")
    path = path_of(load_manifest(first.model), SIDE)
    pack({"another": b"network"}, {"made": "2026-11-30"}).write(path)  # calibrated again meanwhile
    report = segment(config(first.scene, first.model, out), Listening()).report
    assert report["choices"]["calibrations"] == [copy.stem]
    np.testing.assert_array_equal(classes(out), classes(first.out))


@pytest.mark.slow
@needs_nncf
def test_without_its_network_a_run_does_not_go_on_with_another(first: FirstRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="the machine stops"):
        segment(config(first.scene, first.model, out), Stopping())
    shutil.rmtree(out / ".segment-tiles" / "int8")
    path = path_of(load_manifest(first.model), SIDE)
    kept = path.read_bytes()
    path.unlink()
    forget_segmenters()  # another start would not have it
    with pytest.raises(ModelError, match="put it back, or use --restart"):
        segment(config(first.scene, first.model, out), Listening())
    path.write_bytes(kept)
    assert segment(config(first.scene, first.model, out), Listening()).report["failures"] == []


@pytest.mark.slow
@needs_nncf
def test_a_network_that_saw_few_tiles_is_used_with_a_warning(first: FirstRun, tmp_path: Path) -> None:
    path = path_of(load_manifest(first.model), SIDE)
    network = kept_network(first.model)
    files = {name: network.file(name) for name in (int8.GRAPH, int8.WEIGHTS)}
    for tiles, expected in ((1, True), (FEW_TILES, False)):
        pack(files, {**network.described, "tiles": tiles}).write(path)
        listener = Listening()
        segment(config(first.scene, first.model, tmp_path / str(tiles)), listener)
        assert any("was calibrated on 1 tile alone" in text for text in listener.warnings) == expected


@needs_nncf
def test_nothing_but_nodata_is_no_calibration_and_what_is_damaged_is_none(
    first: FirstRun, tmp_path: Path
) -> None:
    path = path_of(load_manifest(first.model), SIDE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    empty = write_scene(tmp_path / "empty.tif", np.zeros((3, 200, 200), np.uint8))
    with pytest.raises(UsageError, match=r"empty.tif has no tile with data .* tune MODEL --calibrate SCENE"):
        segment(config(empty, first.model, tmp_path / "out"), Listening())
    assert not (tmp_path / "out" / "classes.zarr").exists()
    with pytest.raises(UsageError, match="no tile with data"):
        tune(TuneConfig(str(first.model), (str(empty),)), device="cpu")


@needs_nncf
@pytest.mark.slow
def test_tune_calibrates_on_several_scenes_and_auto_takes_int8_if_it_passes(
    first: FirstRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEFT_AT_MOST", 2)
    other = write_scene(tmp_path / "other.tif", cells(400, 400, 3))
    tune(TuneConfig(str(first.model), (str(first.scene), str(other)), seconds=1), device="cpu")
    kept = kept_calibrations([load_manifest(first.model)], SIDE)
    assert list(kept.checksums) != first.report["choices"]["calibrations"]
    assert kept_network(first.model).described["scenes"] == [str(first.scene), str(other)]
    choice = choice_file([load_manifest(first.model).network_checksum], "cpu").read()
    assert choice is not None
    trial = choice.of(kept.name).trial(INT8)
    assert trial is not None
    passing = replace(choice.of(kept.name), pair=INT8, tuning=None)
    assert decision_of(ComputeOptions(calibrations=kept), passing, list).pair == INT8  # type: ignore[union-attr]


def trial_of(pair: tuple[str, str], seconds: float, calibration: str = "") -> PrecisionTrial:
    backend, precision = pair
    return PrecisionTrial(precision, 1.0, 0.0, seconds, backend, calibration=calibration)


def test_auto_takes_int8_only_with_the_network_that_was_judged() -> None:
    bf16 = ("openvino", "bf16")
    trials = (trial_of(FLOAT32, 3.0), trial_of(bf16, 2.0), trial_of(INT8, 1.0, "a"))
    choice = Choice(trials, pair=INT8)
    for calibrations, expected in (
        (Calibrations(("a",)), INT8),
        (Calibrations(("b",)), bf16),
        (Calibrations(), bf16),
    ):
        decision = decision_of(ComputeOptions(calibrations=calibrations), choice, list)
        assert decision is not None
        assert decision.pair == expected


def test_auto_never_makes_int8_its_choice_by_itself(small_model: Path) -> None:
    options = ComputeOptions(calibrations=Calibrations(("a",)))
    pairs = pairs_in_question(options, torch.device("cpu"), [load_manifest(small_model)])
    assert FLOAT32 in pairs
    assert INT8 not in pairs


def test_trials_of_two_calibrations_stand_beside_each_other() -> None:
    choice = Choice((trial_of(INT8, 1.0, "a"),)).with_trials(
        [trial_of(INT8, 2.0, "b"), trial_of(INT8, 3.0, "a")]
    )
    assert [trial.seconds for trial in choice.trials] == [1.0, 2.0]
    assert choice.of("b").trial(INT8) == trial_of(INT8, 2.0, "b")
    assert choice.of("").trial(INT8) is None


def test_who_cannot_have_int8_is_told_what_it_needs(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    manifest = load_manifest(small_model)
    options = ComputeOptions(precision="int8")
    with pytest.raises(MissingExtraError, match=r"--precision int8: .* pip install 'segment-tiles\[int8\]'"):
        pairs_in_question(options, torch.device("meta"), [manifest])
    monkeypatch.setattr(int8, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"not calibrated yet, .* 'segment-tiles\[int8\]'"):
        int8.require_nncf()


@given(st.dictionaries(st.text("abc.", min_size=1, max_size=5), st.binary(max_size=50), max_size=4))
def test_the_same_files_have_the_same_checksum(files: dict[str, bytes]) -> None:
    packed = pack(files, {"made": "2026-11-29", "scenes": ["a"]})
    assert (
        packed.checksum
        == pack(dict(reversed(files.items())), {"scenes": ["a"], "made": "2026-11-29"}).checksum
    )
    assert {name: packed.file(name) for name in files} == files
    assert packed.described == {"made": "2026-11-29", "scenes": ["a"]}


def test_a_network_for_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(int8, "has_vnni", lambda: False)
    with pytest.raises(ModelError, match="calibrated on a processor with VNNI"):
        int8.read_graph(pack({}, {int8.NEEDS_VNNI: True}))


def test_only_a_whole_network_with_the_right_checksum_is_taken(tmp_path: Path) -> None:
    right, other = pack({"a": b"1"}, {}), pack({"a": b"2"}, {})
    other.write(tmp_path / "kept.zip")
    copy = copy_path(tmp_path, right.checksum)
    with pytest.raises(ModelError, match=right.checksum[:12]):
        required_calibrated(right.checksum, (copy, tmp_path / "kept.zip"))
    right.write(copy)
    assert required_calibrated(right.checksum, (copy, tmp_path / "kept.zip")) == right
    for damaged in (b"", b"no zip", right.packed[:-10]):
        copy.write_bytes(damaged)
        assert read_calibrated(copy) is None
    no_description = io.BytesIO()
    with zipfile.ZipFile(no_description, "w") as packed:
        packed.writestr("network.xml", json.dumps({}))
    copy.write_bytes(no_description.getvalue())
    assert read_calibrated(copy) is None
    assert Calibrated(right.packed).checksum == right.checksum
