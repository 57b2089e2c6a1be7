"""Trainings that differ in one thing: the scenes of the canopy recipe, one budget, the network that is asked for."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.workflows import config as workflows_config

RECIPES = Path(workflows_config.__file__).parent / "recipes"
RECIPE = RECIPES / "canopy-rgb.yaml"
AUGMENTATION = {
    "scale": [0.6, 1.8], "rotation": 180, "band_gain": 0.3, "band_offset": 0.4, "brightness": 0.5,
    "gamma": [0.7, 1.4], "grey": 0.8, "noise": 0.1, "blur": 0.8, "probability": 0.5,
}  # fmt: skip
"""That of the recipe."""


@dataclass(frozen=True)
class Budget:
    """What every training of a comparison gets."""

    steps: int
    batch: int = 8
    window: int = 192
    seed: int = 1

    def document(self, name: str, network: Mapping[str, Any]) -> dict[str, Any]:
        """Return a training configuration; all weights start at random, so that no network is ahead."""
        recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        return {
            "name": name,
            "scenes": recipe["scenes"],
            "classes": recipe["classes"],
            "network": dict(network),
            "window": self.window,
            "overlap": 0.25,
            "pixel_size": 0.1,
            "class_balance": 0.7,
            "augmentation": AUGMENTATION,
            "loss": {"kind": "dice_cross_entropy"},
            "optimizer": {
                "kind": "adamw", "learning_rate": 1.0e-3, "weight_decay": 0.01, "warm_up_steps": 20,
            },
            "steps": self.steps,
            "batch": self.batch,
            "seed": self.seed,
            "threads": 1,
            "loader_processes": 0,
            "average_decay": 0.98,
            "validate_every": self.steps,
            "keep": "last",
        }  # fmt: skip


def command(*options: str | Path) -> dict[str, Any]:
    """Run a command of segment-tiles with ``--json`` and return its document."""
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        status = run_command_line([*map(str, options), "--json"])
    if status:
        msg = f"segment-tiles {' '.join(map(str, options))} ended with status {status}"
        raise SystemExit(msg)
    document: dict[str, Any] = json.loads(answer.getvalue())
    return document


def train(folder: Path, document: Mapping[str, Any], data: Path) -> Path:
    """Train one model, or take the one that is there, and return its package."""
    config = folder / "config.yaml"
    text = yaml.safe_dump(dict(document), sort_keys=False)
    if (folder / "report.json").exists() and config.read_text(encoding="utf-8") == text:
        return folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(text, encoding="utf-8")
    goes_on = ["--resume"] if (folder / "checkpoint.pt").exists() else []
    command("train", config, "--data", data, "--out", folder, *goes_on)
    return folder / "model"


def held_out_area(document: Mapping[str, Any], data: Path) -> tuple[Path, Window, str]:
    """Return the raster with the first held-out window, the window, and its box in the CRS as ``--roi`` has it."""
    scene = next(scene for scene in document["scenes"] if scene.get("held_out"))
    box = scene["held_out"][0]
    window = Window(box["row"], box["column"], box["height"], box["width"])
    raster = data / scene["raster"]
    with rasterio.open(raster) as dataset:
        left, top = dataset.transform @ (window.column, window.row)
        right, bottom = dataset.transform @ (window.column_stop, window.row_stop)
    return raster, window, f"{left:.3f},{bottom:.3f},{right:.3f},{top:.3f}"
