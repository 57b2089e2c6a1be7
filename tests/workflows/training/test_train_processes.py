"""Training in two processes through torchrun: one package, the same weights in both, and those of one process.

The network of these tests has no batch norm: on a CPU each process has batch statistics of its own windows, so
that with batch norm two processes of 2 windows are not one of 4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import torch
import yaml
from servers.processes import kill

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.training.checkpoint import CHECKPOINT_NAME
from segment_tiles.pipeline.learning.training.loading import WindowNumbers

SIDE, CELL = 256, slice(144, 176)
"""Every window of 128 px around the labelled middle holds all of it: each process counts equally many pixels."""
SETTINGS: dict[str, Any] = {
    "name": "pair",
    "scenes": [
        {
            "name": name, "raster": f"{name}.tif", "labels": f"{name}-codes.tif",
            "held_out": [{"row": 0, "column": 0, "height": 48, "width": 48}],
        }
        for name in ("north", "south")
    ],
    "classes": [{"name": "ground", "color": [200, 200, 200]}, {"name": "disc", "color": [20, 120, 40]}],
    "network": {
        "arch": "smp", "backbone": "tu-test_convnext", "output_stride": 32, "image_pooling": "off",
        "details": {"model_class": "FPN", "config": {"decoder_dropout": 0.0}},
    },
    "window": 128, "overlap": 0.25, "steps": 8, "batch": 2, "validate_every": 2, "average_decay": 0.9,
    "augmentation": {"scale": [1.0, 1.0], "rotation": 0, "probability": 0},
    "loss": {"kind": "cross_entropy"},
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "warm_up_steps": 0},
    "left_out_steps": 2, "precision": "fp32", "threads": 1, "loader_processes": 0,
}  # fmt: skip

SCRIPT = """
import os, pathlib, sys
import torch
from segment_tiles.cli.main import main
from segment_tiles.pipeline.learning.training.loop import Training

run = Training.run

def run_and_keep(self):
    kept = run(self)
    name = f"{self._settings.name}-{os.environ['RANK']}.pt"
    torch.save(self.network.state_dict(), pathlib.Path(os.environ["WEIGHTS"]) / name)
    return kept

Training.run = run_and_keep
main()
"""
"""The command, and a copy of what each process holds at the end."""


@dataclass(frozen=True)
class Pair:
    """A training in two processes."""

    folder: Path
    data: Path
    config: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def start(self, *words: str, keep_weights: bool = False) -> subprocess.Popen[str]:
        """Start both processes as the documentation says."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        if keep_weights:
            (self.folder / "command.py").write_text(SCRIPT)
            torchrun += [str(self.folder / "command.py")]
        else:
            torchrun += ["--no-python", str(Path(sys.executable).with_name("segment-tiles"))]
        command = ["train", self.config, "--data", self.data, "--out", self.out, "--device", "cpu", "--json"]
        return subprocess.Popen(
            [*torchrun, *map(str, command), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"WEIGHTS": str(self.folder), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def finish(self, *words: str, keep_weights: bool = False) -> tuple[dict[str, Any], str]:
        """Run to the end and return the document on stdout and what was said on stderr."""
        process = self.start(*words, keep_weights=keep_weights)
        answer, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
        document: dict[str, Any] = json.loads(answer)  # one document: the second process is silent
        return document, said

    def kill_after_first_checkpoint(self, *words: str) -> None:
        process = self.start(*words)
        deadline = time.monotonic() + 200
        while not (self.out / CHECKPOINT_NAME).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # torchrun starts each of its processes in a session of its own: they are killed one by one
        torchrun = psutil.Process(process.pid)
        kill([*torchrun.children(recursive=True), torchrun])
        process.communicate()

    def checkpoint(self) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(self.out / CHECKPOINT_NAME, weights_only=True)
        return state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes; labels in the middle, and in the corner that is held out."""
    folder = tmp_path_factory.mktemp("data")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    codes = ((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2 < 90).astype(np.uint8)
    labels = np.full_like(codes, 255)
    for box in ((CELL, CELL), (slice(0, 48), slice(0, 48))):
        labels[box] = codes[box]
    profile = {
        "driver": "GTiff", "height": SIDE, "width": SIDE, "dtype": "uint8", "crs": "EPSG:32612",
        "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6),
    }  # fmt: skip
    for seed, name in enumerate(("north", "south")):
        noise = np.random.default_rng(seed).normal(0, 15, (3, SIDE, SIDE))
        with rasterio.open(folder / f"{name}.tif", "w", count=3, **profile) as file:
            file.write((60 + 110 * codes[None] + noise).clip(0, 255).astype(np.uint8))
        with rasterio.open(folder / f"{name}-codes.tif", "w", count=1, **profile) as file:
            file.write(labels, 1)
    return folder


def pair_in(folder: Path, data: Path) -> Pair:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    return Pair(folder, data, config)


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        torch.testing.assert_close(values, second[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.timeout(600)  # three starts of torchrun, each of three processes
def test_two_processes_train_the_network_of_one(
    data: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = pair_in(tmp_path_factory.mktemp("whole"), data)
    document, said = whole.finish("--each-scene-left-out", keep_weights=True)
    for name in ("pair", "pair-without-north", "pair-without-south"):
        first, second = (torch.load(whole.folder / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
        assert_close(first, second, tolerance=0)
    assert sorted(document["left_out"]) == ["north", "south"]
    assert said.count("pair: starts") == 1
    assert (whole.out / "model" / "model.json").exists()
    assert len((whole.out / "steps.csv").read_text().splitlines()) == 1 + 8

    killed = pair_in(tmp_path_factory.mktemp("killed"), data)
    killed.kill_after_first_checkpoint()
    assert not (killed.out / "report.json").exists()
    resumed, _ = killed.finish("--resume")
    assert resumed["scores"] == document["scores"]
    assert_close(whole.checkpoint()["network"], killed.checkpoint()["network"], tolerance=0)

    single = whole.folder / "single.yaml"
    single.write_text(yaml.safe_dump(SETTINGS | {"batch": 4}))
    words = ["train", single, "--data", data, "--out", whole.folder / "single", "--device", "cpu", "--quiet"]
    assert run_command_line([str(word) for word in words]) == 0
    ours = torch.load(whole.folder / "single" / CHECKPOINT_NAME, weights_only=True)
    assert_close(whole.checkpoint()["network"], ours["network"], tolerance=1e-5)
    capfd.readouterr()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_the_windows_of_one(count: int) -> None:
    """Together they see in each step what one process with the whole batch sees."""
    alone = WindowNumbers(0, 5, 2 * count, TrainingProcess())
    for step in range(5):
        together = [
            number
            for rank in range(count)
            for number in WindowNumbers(0, 5, 2, TrainingProcess(rank, count)).of_step(step)
        ]
        assert together == list(alone.of_step(step))
