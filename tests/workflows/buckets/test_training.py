"""Trainings into buckets: the bytes of one into a folder, also from another machine after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import yaml
from servers.processes import kill
from servers.s3_server import on_every_server

import segment_tiles
from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import OutputError, TrainingError, UsageError, WriteFailedError
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.bucket import BucketPlace
from segment_tiles.pipeline.places.lease import acquire
from segment_tiles.workflows.buckets.commands.train import LEASE, train_as_asked
from segment_tiles.workflows.options.training import TrainConfig

SETTINGS: dict[str, Any] = {
    "name": "discs",
    "scenes": [
        {
            "name": name, "raster": f"{name}.tif", "labels": "codes.tif",
            "held_out": [{"row": 64, "column": 64, "height": 32, "width": 32}],
        }
        for name in ("north", "south")
    ],
    "classes": [{"name": "ground", "color": [200, 200, 200]}, {"name": "disc", "color": [20, 120, 40]}],
    "network": {
        "backbone": "test_resnet", "output_stride": 32, "atrous_rates": [1], "image_pooling": "off",
        "details": {"channels": 16, "low_level_channels": 8},
    },
    "window": 64, "tile": 64, "overlap": 0.25, "steps": 6, "batch": 2, "validate_every": 2, "left_out_steps": 4,
    "threads": 1, "loader_processes": 0,
}  # fmt: skip
OF_PATHS = {"report.json"}
"""Names the folder of the model."""


class Stops:
    """A listener that ends a training after so many scores, as an error of a step would."""

    def __init__(self, after: int = 1000) -> None:
        self.left, self.said = after, [""]

    def started(self, name: str, first_step: int, steps: int) -> None:
        self.said.append(f"{name} {first_step}/{steps}")

    def stepped(self, row: Mapping[str, float]) -> None:
        pass

    def scored(self, row: Mapping[str, float]) -> None:
        self.left -= 1
        if not self.left:
            msg = "stopped"
            raise KeyboardInterrupt(msg)

    def noted(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of bright discs with their codes, and the configuration of a training on them."""
    folder = tmp_path_factory.mktemp("bucket-training")
    rows, columns = np.mgrid[:96, :96]
    codes = ((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2 < 90).astype(np.uint8)
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    profile = {"driver": "GTiff", "height": 96, "width": 96, "dtype": "uint8", **place}
    for seed, name in enumerate(("north", "south")):
        values = 60 + 110 * codes[None] + np.random.default_rng(seed).normal(0, 15, (3, 96, 96))
        with rasterio.open(folder / f"{name}.tif", "w", count=3, **profile) as file:
            file.write(values.clip(0, 255).astype(np.uint8))
    with rasterio.open(folder / "codes.tif", "w", count=1, **profile) as file:
        file.write(codes, 1)
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder / "config.yaml"


@pytest.fixture
def train(config: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains as on a machine of its own: with an empty folder for what lasts as long as the command."""

    def run(out: str | Path, progress: Stops | None = None, **changes: Any) -> Any:
        scratch = tmp_path_factory.mktemp("machine")
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        try:
            return train_as_asked(
                TrainConfig(config, Path(out), device="cpu", **changes), progress or Stops()
            )
        finally:
            assert not list(scratch.glob("segment-tiles-result-*"))

    return run


def contents(address: str) -> dict[str, bytes]:
    place = place_at(address)
    found = {key: place.read(key) for key in place.list() if not key.startswith(".training/")}
    return {key: entry.data for key, entry in found.items() if entry is not None}


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_same(address: str, folder: Path) -> None:
    """Assert that all is there that a training into a folder leaves, and the same, but for times and paths."""
    there, here = contents(address), files(folder)
    boards = [{key for key in found if "tensorboard/" in key} for found in (there, here)]
    assert len(boards[0]) >= len(boards[1])
    assert set(there) - boards[0] == set(here) - boards[1]
    for key in set(here) - boards[1]:
        name = key.rpartition("/")[2]
        if name in OF_PATHS:
            expected = json.loads(here[key].decode().replace(str(folder), address))
            assert json.loads(there[key]) == expected
        elif name != "checkpoint.pt":  # whose archive is named after its file
            assert there[key] == here[key], key


@on_every_server
def test_a_training_that_was_cut_off_is_taken_up_from_the_bucket_alone(
    train: Any, bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def note(name: str) -> None:
        put = getattr(BucketPlace, name)

        def noted(self: BucketPlace, key: str, *rest: Any) -> Any:
            written.append(key)
            return put(self, key, *rest)

        monkeypatch.setattr(BucketPlace, name, noted)

    for name in ("put", "put_if_absent", "replace", "put_file"):
        note(name)
    train(tmp_path / "here")
    address = f"{bucket()}/runs/discs"
    with pytest.raises(KeyboardInterrupt):
        train(address, Stops(2))
    there = contents(address)
    assert {"checkpoint.pt", "steps.csv", "scores.csv"} <= set(there)
    assert not [key for key in there if "model/" in key or "report" in key]
    with pytest.raises(TrainingError, match=rf"{address} has the checkpoint of a training; go on"):
        train(address)
    told = Stops()
    report = train(address, told, resume=True)
    assert told.said[1] == "discs 4/6"
    of_training = [key for key in written if not key.startswith(".training/")]
    assert of_training[-1] == "model/model.json", "it says that a package is there"
    assert_same(address, tmp_path / "here")
    assert segment_tiles.load_model(report.model).name == "discs"


@pytest.mark.slow  # eight trainings
@pytest.mark.timeout(600)
def test_further_trainings_are_taken_up_too(train: Any, bucket: Callable[[], str], tmp_path: Path) -> None:
    whole = {"each_scene_left_out": True, "seeds": 2}
    train(tmp_path / "here", **whole)
    address = bucket()
    for after, options in ((1, {}), (3, {"resume": True}), (4, {"resume": True})):
        with pytest.raises(KeyboardInterrupt):
            train(address, Stops(after), **whole, **options)
    there = contents(address)
    assert {"seed-1/checkpoint.pt", "left-out-north/checkpoint.pt"} <= set(there)
    assert not [key for key in there if "model/" in key or "report" in key]
    told = Stops()
    report = train(address, told, resume=True, **whole)
    assert told.said[1:4] == ["discs 6/6", "discs-seed-1 6/6", "discs-without-north 4/4"]
    assert_same(address, tmp_path / "here")
    assert list(report.left_out) == ["north", "south"]


@pytest.mark.slow  # three trainings
def test_restart_forgets_what_is_there_before_the_first_step(
    train: Any, bucket: Callable[[], str], tmp_path: Path
) -> None:
    address = bucket()
    with pytest.raises(KeyboardInterrupt):
        train(address, Stops(2), seeds=2)

    class Looks(Stops):
        def started(self, name: str, first_step: int, steps: int) -> None:
            super().started(name, first_step, steps)
            self.said += [key for key in contents(address) if key.endswith("checkpoint.pt")]

    told = Looks()
    train(address, told, restart=True)
    train(tmp_path / "here")
    assert told.said == ["", "discs 0/6"]
    assert_same(address, tmp_path / "here")
    with pytest.raises(UsageError, match="exclude each other"):
        train(address, resume=True, restart=True)


def test_who_may_train_there(
    train: Any, bucket: Callable[[], str], config: Path, capsys: pytest.CaptureFixture[str], s3: str
) -> None:
    address = bucket()
    place_at(address).put("notes.txt", b"mine")
    with pytest.raises(OutputError, match=r"holds objects that are not of a training \(notes\.txt\)"):
        train(address)
    words = ["train", str(config), "--device", "cpu", "--out"]
    for out, said in (
        ("s3://there-is-none/net", "there is no such bucket"),
        ("s3://key:known@bucket/net", "has a user, a password or a query"),
        ("ftp://host/net", "results cannot be written to ftp://"),
    ):
        assert run_command_line([*words, out]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert said in lines[0]
        assert "known@" not in lines[0]
    broken = config.with_name("broken.yaml")
    broken.write_text("name: [")
    assert run_command_line(["train", str(broken), "--out", f"{address}/net"]) == 2
    assert contents(address) == {"notes.txt": b"mine"}
    assert place_at(f"{address}/net").list() == []


def test_a_holder_that_was_overtaken_sends_nothing_more(train: Any, bucket: Callable[[], str]) -> None:
    address = bucket()

    class Overtaken(Stops):
        def started(self, name: str, first_step: int, steps: int) -> None:
            place_at(address).delete(LEASE)

    with pytest.raises(WriteFailedError, match="nothing more is written by this one"):
        train(address, Overtaken())
    assert contents(address) == {}


def test_a_bucket_that_goes_away_ends_the_training(train: Any, bucket: Callable[[], str], s3: str) -> None:
    address = bucket()

    class Removed(Stops):
        def started(self, name: str, first_step: int, steps: int) -> None:
            place_at(address).delete_all(place_at(address).list())
            gone = urllib.request.Request(f"{s3}/{address.removeprefix('s3://')}", method="DELETE")
            with urllib.request.urlopen(gone, timeout=10):
                pass

    with pytest.raises(WriteFailedError, match=r"no such bucket.*; the last checkpoint there is kept"):
        train(address, Removed())


@pytest.mark.slow  # a holder is looked at until its lease beats
def test_one_training_at_a_time(train: Any, bucket: Callable[[], str]) -> None:
    address = bucket()
    with (
        acquire(place_at(address), LEASE, print),
        pytest.raises(OutputError, match=r"process \d+ .* is at work here"),
    ):
        train(address)


@pytest.mark.slow  # processes that are killed
@pytest.mark.timeout(600)
def test_a_killed_process_loses_no_checkpoint(
    train: Any, config: Path, bucket: Callable[[], str], tmp_path: Path
) -> None:
    train(tmp_path / "here", seeds=2)
    address = f"{bucket()}/discs"
    command = [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", "train", str(config)]
    command += ["--device", "cpu", "--json", "--seeds", "2", "--out", address]

    def start(name: str, *words: str) -> subprocess.Popen[str]:
        (tmp_path / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / name), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    for number, key in enumerate(("checkpoint.pt", "seed-1/checkpoint.pt")):
        process = start(f"machine-{number}", *(["--resume"] if number else []))
        while place_at(address).read(key) is None:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert "model/model.json" not in contents(address)
    process = start("machine-2", "--resume")
    answer, said = process.communicate(timeout=280)
    assert process.returncode == 0, said
    assert json.loads(answer)["model"] == f"{address}/model"
    assert re.search("discs-seed-1: goes on after step [246], 6 steps", said)
    assert_same(address, tmp_path / "here")


@pytest.mark.slow  # three starts of torchrun
@pytest.mark.timeout(600)
def test_processes_of_torchrun_take_a_training_up(
    config: Path, bucket: Callable[[], str], tmp_path: Path
) -> None:
    address = f"{bucket()}/pair"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--no-python", str(Path(sys.executable).with_name("segment-tiles")), "train", str(config)]

    def start(out: str | Path, name: str, *words: str) -> subprocess.Popen[bytes]:
        (tmp_path / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / name), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, "--device", "cpu", "--quiet", "--out", str(out), *words], env=environment
        )

    assert start(tmp_path / "here", "one").wait(timeout=280) == 0
    killed = start(address, "two")
    while place_at(address).read("checkpoint.pt") is None:
        assert killed.poll() is None
        time.sleep(0.01)
    # torchrun starts each of its processes in a session of its own: they are killed one by one
    torchrun = psutil.Process(killed.pid)
    kill([*torchrun.children(recursive=True), torchrun])
    killed.wait()
    assert start(address, "three", "--resume").wait(timeout=280) == 0
    assert_same(address, tmp_path / "here")
