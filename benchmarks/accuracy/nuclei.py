"""Scores of a nuclei model, per group and acquisition type: means over pictures, beside Otsu with connected pieces.

python -m benchmarks.accuracy.nuclei --data ../shared/data/nuclei --model nuclei --fold 0
python -m benchmarks.accuracy.nuclei --data ../shared/data/nuclei --model nuclei --fold 0 --outlines
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, label
from skimage.filters import threshold_otsu

import segment_tiles as st
from segment_tiles.pipeline.learning.scores.objects.of_map import objects_of_map, totals_of
from segment_tiles.pipeline.learning.scores.objects.summary import mean_over_scenes, object_summary
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.registry import find_model

Numbers = NDArray[np.int64]
_otsu: Any = threshold_otsu  # has no types
_distance: Any = distance_transform_edt  # the same
MOVED = range(-4, 5)
"""Pixels by which outlines are moved outwards."""


def without_small(objects: Numbers, pixels: int) -> Numbers:
    """Return the objects without those of fewer pixels."""
    counts = np.bincount(objects.ravel())
    small = counts < pixels
    small[0] = False
    return np.where(small[objects], 0, objects)


def by_model(folder: Path) -> Callable[[NDArray[Any]], Numbers]:
    """Return what makes objects of a picture with a model, as `run` does."""
    table = load_manifest(folder).classes

    def objects(picture: NDArray[Any]) -> Numbers:
        codes = st.segment_array(np.moveaxis(picture, -1, 0), model=folder)
        return objects_of_map(np.asarray(codes), table)

    return objects


def by_otsu(picture: NDArray[Any]) -> Numbers:
    """Return connected pieces above Otsu's threshold; below it where the background is bright."""
    grey = picture.mean(axis=-1)
    above = grey > _otsu(grey)
    return label(~above if above.mean() > 0.5 else above)[0].astype(np.int64)


def pictures(data: Path, fold: str) -> Iterator[tuple[dict[str, str], NDArray[Any], Numbers]]:
    """Yield rows of the table, pictures of rows x columns x 3, and numbers of nuclei."""
    with (data / "groups.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == fold]
    for row in rows:
        if row["group"] != "brightfield":  # labelled by another rule
            with Image.open(data / "images" / f"{row['id']}.png") as image:
                picture = np.asarray(image.convert("RGB"))
            with Image.open(data / "labels" / f"{row['id']}.png") as image:
                yield row, picture, np.asarray(image).astype(np.int64)


def dice_of_outlines(truth: Numbers, mapped: Numbers) -> dict[int, float]:
    """Return the Dice of all nuclei if the outlines of the map were moved outwards by some pixels, by these pixels."""
    is_nucleus, found = truth > 0, mapped > 0
    if not found.any():
        return dict.fromkeys(MOVED, 0.0)
    outside = _distance(~found) - _distance(found) + 0.5 * (2 * found - 1)
    moved = {pixels: outside < pixels for pixels in MOVED}
    return {
        pixels: 2 * float((is_nucleus & here).sum()) / max(1, int(is_nucleus.sum() + here.sum()))
        for pixels, here in moved.items()
    }


def print_outlines(data: Path, fold: str, objects_of: Callable[[NDArray[Any]], Numbers]) -> None:
    """Print by how much outlines of labels and map differ in each field of fluorescence, and the Dice without that."""
    fields: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for row, picture, truth in pictures(data, fold):
        if row["group"] == "fluorescence":
            scores = dice_of_outlines(truth, objects_of(picture))
            best = max(scores, key=lambda pixels: scores[pixels])
            found = fields.setdefault((row["acq_type"], row["field"]), [])
            found.append((best, scores[0], scores[best]))
    print(
        "| type, field | pictures | labels are wider by (pixels) | Dice | Dice, if outlines were moved so |"
    )
    print("|---|---|---|---|---|")
    for (kind, field), found in sorted(fields.items()):
        shifts, plain, best_of = (np.array(column) for column in zip(*found, strict=True))
        scores_of = f"{np.median(shifts):g} | {plain.mean():.3f} | {best_of.mean():.3f}"
        print(f"| {kind}, {field[:6]} | {len(found)} | {scores_of} |")
    every = np.array([score for found in fields.values() for score in found])
    print(f"all {len(every)} pictures: Dice {every[:, 1].mean():.3f}, {every[:, 2].mean():.3f} if moved")


def line(name: str, method: str, totals: list[ObjectTotals]) -> str:
    """Return the scores of some pictures as a row of a table."""
    means = mean_over_scenes(totals)
    pooled = object_summary(sum(totals, ObjectTotals()))
    values = [means["f1"], means["dice"], means["panoptic_quality"], pooled["f1"], pooled["dice"]]
    numbers = " | ".join(f"{value:.3f}" for value in values)
    return f"| {name} | {method} | {len(totals)} | {numbers} | {pooled['true_objects']} | {pooled['mapped_objects']} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels, groups.csv")
    parser.add_argument("--model", default="nuclei", help="a bundled model, or a folder")
    parser.add_argument("--fold", default="0", help="pictures to look at; 0 was never trained on")
    parser.add_argument("--min-pixels", type=int, nargs="*", default=[0], help="smaller objects are left out")
    parser.add_argument(
        "--outlines", action="store_true", help="how far outlines are from those of the labels"
    )
    options = parser.parse_args()
    if options.outlines:
        print_outlines(options.data, options.fold, by_model(find_model(options.model)))
        return
    methods = {"Otsu": by_otsu, options.model: by_model(find_model(options.model))}
    scores: dict[tuple[str, str], list[ObjectTotals]] = {}
    for row, picture, truth in pictures(options.data, options.fold):
        for method, objects_of in methods.items():
            objects = objects_of(picture)
            for pixels in options.min_pixels:
                totals = totals_of(truth, without_small(objects, pixels), np.ones(truth.shape, dtype=bool))
                name = method if not pixels else f"{method}, {pixels} pixels or more"
                for part in (f"all {row['group']}", f"{row['group']}: {row['acq_type']}"):
                    scores.setdefault((part, name), []).append(totals)
    print("| pictures | by | number | F1 | Dice | PQ | F1, pooled | Dice, pooled | nuclei | mapped |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (part, name), found in sorted(scores.items()):
        print(line(part, name, found))


if __name__ == "__main__":
    main()
