"""Runs on stacks: told by one name from check to report, each file held to one version, and none of them unnamed."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import yaml
from affine import Affine
from served_folder import served_folder

import segment_tiles as st
from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ChangedRunError, SegmentTilesError, SourceChangedError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements
from segment_tiles.pipeline.sources.versions import watch as watch_module
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.planning import check_jobs, plan_batch
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

Run = Callable[..., dict[str, Any]]
NAMES = ("red", "green", "blue")


def write(path: Path, seed: int, size: float, crs: str = "EPSG:32633") -> None:
    side = int(128 / size)
    values = np.random.default_rng(seed).integers(1, 255, (1, side, side), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs=crs,
        transform=Affine(size, 0, 1000, 0, -size, 2000), tiled=True, blockxsize=16, blockysize=16,
    ) as dataset:  # fmt: skip
        dataset.write(values)


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """A folder of three bands: 1, 2 and 4 m."""
    (tmp_path / "bands").mkdir()
    for seed, name in enumerate(NAMES):
        write(tmp_path / "bands" / f"{name}.tif", seed, 2.0**seed)
    return tmp_path / "bands"


def source_of(bands: Path, *names: str) -> str:
    return ",".join(str(bands / f"{name}.tif") for name in names or NAMES)


def classes(out: Path) -> np.ndarray[Any, Any]:
    return np.asarray(open_store(out / "classes.zarr")["classes"][:])


def test_the_order_of_the_files_does_not_count_where_the_model_knows_their_names(
    bands: Path, small_model: Path, run_on: Run, tmp_path: Path
) -> None:
    report = run_on(source_of(bands), small_model, tmp_path / "one")
    other = run_on(source_of(bands, "blue", "red", "green"), small_model, tmp_path / "other")
    assert other["source"]["bands"] == [2, 3, 1]
    np.testing.assert_array_equal(classes(tmp_path / "one"), classes(tmp_path / "other"))
    assert report["source"]["uri"] == source_of(bands)
    told = " ".join(report["warnings"])
    assert "brought onto the grid of red.tif (1): green.tif (2, bilinear), blue.tif (4, bilinear)" in told
    links = json.loads((tmp_path / "one" / "item.json").read_text())["links"]
    assert [link["href"] for link in links if link["title"] == "Source raster"] == [
        f"../bands/{n}.tif" for n in NAMES
    ]


def test_info_and_plan_know_a_stack(
    bands: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(bands)
    assert run_command_line(["info", source, "--grid-of", "green", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["width"], told["band_names"]) == ("stack", 64, list(NAMES))
    assert [entry["resampling"] for entry in told["members"]] == ["bilinear", None, "bilinear"]
    assert run_command_line(["info", source]) == 0
    capsys.readouterr()
    assert run_command_line(["plan", source, "--model", str(small_model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bands"] == [1, 2, 3]


class ChangingOnce:
    """Does something when the first tiles are done."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change: Callable[[], object] | None = change

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None: ...

    def planned(self, plan: Any) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None:
        change, self._change = self._change, None
        if change is not None:
            change()


def test_a_member_that_changes_is_found_and_named(
    bands: Path, small_model: Path, quiet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run goes on, and between a run and its resumption."""
    monkeypatch.setattr(watch_module, "SECONDS_BETWEEN", 0.0)
    config = RunConfig(source_of(bands), str(small_model), tmp_path / "out", precision="fp32", device="cpu")
    with pytest.raises(SourceChangedError, match=r"bands/green\.tif: changed while it was read") as caught:
        segment(config, ChangingOnce(lambda: write(bands / "green.tif", 9, 2.0)))
    assert "red.tif" not in str(caught.value)
    done = RunConfig(source_of(bands), str(small_model), tmp_path / "done", precision="fp32", device="cpu")
    segment(done, quiet)
    write(bands / "blue.tif", 11, 4.0)
    with pytest.raises(ChangedRunError, match=r"source version .*blue\.tif") as again:
        segment(done, quiet)
    assert "red.tif" not in str(again.value).partition("source version")[2]


def test_another_description_of_the_same_files_is_another_run(
    bands: Path, small_model: Path, quiet: Any, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"precision": "fp32", "device": "cpu"}
    config = RunConfig(source_of(bands), str(small_model), tmp_path / "out", **asked)
    segment(config, quiet)
    assert segment(config, quiet).was_finished
    with pytest.raises(ChangedRunError, match="source was stack:"):
        segment(RunConfig(config.source, config.model, config.out, grid_of="green", **asked), quiet)


def test_a_member_that_cannot_be_read_is_named(
    bands: Path, small_model: Path, quiet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)
    packed = bands / "packed.tif"
    with rasterio.open(bands / "green.tif") as dataset:
        profile = {**dataset.profile, "compress": "deflate"}
        with rasterio.open(packed, "w", **profile) as out:
            out.write(dataset.read())
    content = bytearray(packed.read_bytes())
    content[-300:] = b"\xff" * 300
    packed.write_bytes(bytes(content))
    source = source_of(bands, "red", "packed", "blue")
    result = segment(
        RunConfig(source, str(small_model), tmp_path / "out", precision="fp32", device="cpu"), quiet
    )
    assert result.failures
    assert "packed.tif" in result.failures[0]["reason"]
    assert "red.tif" not in result.failures[0]["reason"]


def test_python_takes_lists_of_files_and_items(bands: Path, small_model: Path, tmp_path: Path) -> None:
    item = pystac.Item("scene", None, None, datetime(2026, 5, 1, tzinfo=UTC), {})
    for name in NAMES:
        item.add_asset(
            name, pystac.Asset(str(bands / f"{name}.tif"), media_type="image/tiff", roles=["data"])
        )
    asked: dict[str, Any] = {"model": small_model, "precision": "fp32", "device": "cpu", "format": "zarr"}
    with pytest.warns(st.SegmentTilesWarning, match="brought onto the grid"):
        of_files = st.segment([bands / f"{name}.tif" for name in NAMES], out=tmp_path / "files", **asked)
    with pytest.warns(st.SegmentTilesWarning, match="brought onto the grid"):
        of_item = st.segment(item, out=tmp_path / "item", **asked)
    np.testing.assert_array_equal(of_files.classes, of_item.classes)
    dated = st.plan([item, item.to_dict()], assets=["red@1", "green@2", "blue@2"], **asked)
    assert dated.document["bands"] == [1, 2, 3]
    with pytest.raises(TypeError, match=r"the source is a builtins\.int; give a path"):
        st.segment([3], out=tmp_path / "no", **asked)  # type: ignore[list-item]


REFUSED = {
    "another CRS": ({"blue": {"crs": "EPSG:32634"}}, {}, r"blue\.tif: has EPSG:32634, but .*--like"),
    "no such member": ({}, {"grid-of": "nir"}, r"--grid-of is 'nir'; it must be one of the members"),
    "assets of files": ({}, {"assets": ["red"]}, r"--assets is red, but none of the files is a STAC item"),
    "micrometres": ({}, {"mpp": 0.5}, r"--mpp is given, but .* is a stack"),
    "no such level": ({}, {"level": 3}, r"red\.tif: has no level 3"),
    "alpha that is not there": ({}, {"alpha": "mask"}, r"--alpha is mask, but no band of .*red\.tif"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_all_commands_refuse_alike(case: str, bands: Path, small_model: Path, tmp_path: Path) -> None:
    changes, options, words = REFUSED[case]
    for name, change in changes.items():
        write(bands / f"{name}.tif", 1, 4.0, **change)
    typed = [
        f"--{key}={','.join(value) if isinstance(value, list) else value}" for key, value in options.items()
    ]
    common = [source_of(bands), "--model", str(small_model), *typed]
    for command in (["plan", *common], ["run", *common, "--out", str(tmp_path / "out")]):
        refused_line(command, words)
    jobs = tmp_path / "jobs.yaml"
    entry = {"source": source_of(bands), "model": str(small_model), **options}
    jobs.write_text(yaml.safe_dump({"jobs": [entry]}))
    planned = plan_batch(read_jobs_file(jobs))
    assert re.search(words, planned.failures[0].error or "")
    with pytest.raises(SegmentTilesError, match=words):
        check_jobs(read_jobs_file(jobs))
    assert not (tmp_path / "out").exists()


def refused_line(command: list[str], words: str) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert run_command_line(command) == 2
    lines = [line for line in errors.getvalue().splitlines() if "warning:" not in line]
    assert len(lines) == 1, lines
    assert re.search(words, lines[0]), lines


def test_layers_of_other_units_are_refused_if_the_model_wants_physical_values(
    bands: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bands / "upper.tif", 5, 1.0)
    with rasterio.open(bands / "upper.tif", "r+") as dataset:
        dataset.offsets = (-0.1,)
    red, upper, green = (str(bands / f"{name}.tif") for name in ("red", "upper", "green"))
    common = [name_of_elements([[red, upper], green, green]), "--model", str(small_model)]
    assert run_command_line(["plan", *common]) == 0
    told = " ".join("".join(capsys.readouterr()).replace("│", " ").split())  # lines end where the table does
    assert "has another scale or offset than" in told
    for command in (["plan", *common], ["run", *common, "--out", str(tmp_path / "out")]):
        refused_line(
            [*command, "--scaling", "physical+scale:0.01"],
            r"upper\.tif: has another .*red\.tif, .* wants physical values: choose files that have the same",
        )


@pytest.mark.parametrize("condition", ["none", "If-Match"])
def test_files_on_a_server_are_held_to_their_versions(
    condition: str,
    bands: Path,
    small_model: Path,
    run_on: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_module, "SECONDS_BETWEEN", 0.0)
    if condition != "none":
        (bands / condition).touch()
    run_on(source_of(bands), small_model, tmp_path / "local")
    with served_folder(bands) as address:
        source = ",".join(f"{address}/{name}.tif?sig=secret" for name in NAMES)
        report = run_on(source, small_model, tmp_path / "remote")
        assert report["source"]["uri"] == ",".join(f"{address}/{name}.tif" for name in NAMES)
        np.testing.assert_array_equal(classes(tmp_path / "remote"), classes(tmp_path / "local"))
        config = RunConfig(
            source, str(small_model), tmp_path / "out", grid_of=f"{address}/red.tif?sig=secret",
            precision="fp32", device="cpu",
        )  # fmt: skip
        with pytest.raises(SourceChangedError, match=r"/blue\.tif: changed while it was read \(it was etag"):
            segment(config, ChangingOnce(lambda: write(bands / "blue.tif", 9, 4.0)))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sig=secret" in path.read_bytes()]
