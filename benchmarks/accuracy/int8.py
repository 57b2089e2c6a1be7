"""What int8 changes: decided pixels of whole scenes, and class IoU on the quarter that the canopy model was not shown.

    python -m benchmarks.accuracy.int8 [--data ../shared/data/aerial] [--precisions bf16 int8]

The model is calibrated on the whole of Yellowstone, as a user's first run does, unless it was before. Every scene is
then computed in float32 in torch and in each precision by OpenVINO, and compared over all its pixels: how many of the
decided ones (two best float32 scores apart by 0.1 or more) change their class. IoU is that of `evaluate` against the
crowns, in the held-out quarter of the recipe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmarks.accuracy.canopy_training import RECIPE
from benchmarks.shared.commands import PROGRAM
from segment_tiles.pipeline.models.trials import DECIDED_MARGIN
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store

SCENES = ("yellowstone", "ordway_029", "soaproot_061")
MODEL = "canopy-rgb"


def run(scene: Path, out: Path, options: list[str]) -> Path:
    """Run the command line; return the output directory."""
    command = [PROGRAM, "run", str(scene), "--model", MODEL, "--out", str(out), "--quiet", *options]
    subprocess.run([*command, "--format", "cog", "--no-preview", "--no-item"], check=True)
    return out


def changed(out: Path, float32: Path) -> tuple[float, float]:
    """Return the shares of decided pixels and of all valid pixels that have another class than in float32."""
    scores = np.sort(_array(float32, "scores"), axis=0)
    before, now = _array(float32, "classes"), _array(out, "classes")
    valid = before != 255
    # scores are stored in 1/255 steps
    scale = 255.0 if scores.dtype == np.uint8 else 1.0
    decided = valid & ((scores[-1].astype(np.float32) - scores[-2]) / scale >= DECIDED_MARGIN)
    other = before != now
    return float(other[decided].mean()), float(other[valid].mean())


def _array(out: Path, name: str) -> NDArray[Any]:
    return np.asarray(array_of(open_store(out / "classes.zarr"), name)[:])


def iou(scene: Path, options: list[str], folder: Path) -> dict[str, float]:
    """Return the IoU of the classes in the held-out quarter of a scene."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    (entry,) = [found for found in recipe["scenes"] if found["raster"] == scene.name]
    (box,) = entry["held_out"]
    with rasterio.open(scene) as dataset:
        bounds = dataset.window_bounds(Window(box["column"], box["row"], box["width"], box["height"]))
    out = run(scene, folder, ["--roi", ",".join(map(str, bounds)), *options])
    command = [
        PROGRAM, "evaluate", str(out), str(scene.with_name(f"{scene.stem}_crowns.geojson")), "--json",
        "--class-column", "class", "--class-value", "tree=tree canopy", "--unlabelled", "other",
        "--polygon-shape", entry["polygon_shape"],
    ]  # fmt: skip
    document = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: scores["iou"] for name, scores in document["classes"].items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/aerial"))
    parser.add_argument("--precisions", nargs="+", default=["bf16", "int8"])
    asked = parser.parse_args()
    float32 = ["--backend", "torch", "--precision", "fp32"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'':>14} {'precision':>9} {'decided changed':>16} {'all changed':>12}")
        for scene in SCENES:
            reference = run(asked.data / f"{scene}.tif", folder / scene / "fp32", ["--scores", *float32])
            for precision in asked.precisions:
                options = ["--backend", "openvino", "--precision", precision]
                out = run(asked.data / f"{scene}.tif", folder / scene / precision, options)
                of_decided, of_all = changed(out, reference)
                print(f"{scene:>14} {precision:>9} {of_decided:16.4%} {of_all:12.4%}", flush=True)
        print(f"\n{'held-out quarter':>16} IoU of the classes")
        for precision, options in (
            ("fp32", float32),
            *((name, ["--backend", "openvino", "--precision", name]) for name in asked.precisions),
        ):
            scores = iou(asked.data / "yellowstone.tif", options, folder / "quarter" / precision)
            print(f"{precision:>16}", {key: round(value, 4) for key, value in scores.items()}, flush=True)


if __name__ == "__main__":
    main()
