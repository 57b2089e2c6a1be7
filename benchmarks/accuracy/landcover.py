"""Scores of land-cover models on groups of scenes that they never saw: IoU of each class, and the mean over groups.

python -m benchmarks.accuracy.landcover --data ../shared/data/dubai --group C=landcover-rgb

Pixels are counted here, by numpy, not by what `evaluate` and the training count with.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import segment_tiles as st
from segment_tiles.pipeline.models.registry import find_model

Numbers = NDArray[np.int64]
CLASSES = ("building", "land", "road", "vegetation", "water")
"""Codes 1 to 5 of the labels, and of the map less one; 0 of the labels says nothing."""


def counts_of(picture: Path, labels: Path, model: Path) -> Numbers:
    """Return how many labelled pixels of a picture have each class, rows: labelled; columns: mapped."""
    with Image.open(picture) as image:
        colours = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    with Image.open(labels) as image:
        truth = np.asarray(image).astype(np.int64)
    mapped = np.asarray(st.segment_array(colours, model=model)).astype(np.int64)
    size = len(CLASSES)
    known = truth > 0
    pairs = (truth[known] - 1) * size + mapped[known]
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def overlaps(counts: Numbers) -> NDArray[Any]:
    """Return the IoU of each class; NaN where neither labels nor map have it."""
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def group_scores(data: Path, group: str, model: Path) -> NDArray[Any]:
    """Return the IoU of each class over all labelled pixels of a group of scenes."""
    with (data / "files.csv").open(encoding="utf-8") as file:
        names = [row["name"] for row in csv.DictReader(file) if row["scene"] == group]
    return overlaps(
        sum(
            (
                counts_of(data / "images" / f"{name}.jpg", data / "labels" / f"{name}.png", model)
                for name in names
            ),
            np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64),
        )
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels, files.csv")
    parser.add_argument(
        "--group",
        action="append",
        required=True,
        metavar="GROUP=MODEL",
        help="a group, and a model that never saw it",
    )
    options = parser.parse_args()
    pairs = [entry.split("=", 1) for entry in options.group]
    print(f"| group | {' | '.join(CLASSES)} | mean |")
    print("|---" * (len(CLASSES) + 2) + "|")
    means = []
    for group, name in pairs:
        scores = group_scores(options.data, group, find_model(name))
        means.append(float(np.nanmean(scores)))
        print(f"| {group} | {' | '.join(f'{score:.3f}' for score in scores)} | {means[-1]:.3f} |", flush=True)
    print(f"mean of groups: {np.mean(means):.3f}")


if __name__ == "__main__":
    main()
