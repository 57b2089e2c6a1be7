"""Scores of an axon model on whole animals: Dice of each class; sizes of axons and fibres beside those of the masks.

python -m benchmarks.accuracy.axons --data ../shared/data/axon --model axon-myelin --animal sub-rat6
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

import segment_tiles as st
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize

Codes = NDArray[np.uint8]
CLASSES = ("background", "myelin", "axon")
MICROMETRES = 0.1
"""Of a pixel of the model, in which both are compared."""
SAME = 0.5
"""IoU above which an axon of the map is one of the masks."""


@dataclass(frozen=True)
class Fibres:
    """Axons of one class map."""

    numbers: NDArray[np.uint32]
    """Of the axon of each pixel, rows x columns; 0: none."""
    table: pd.DataFrame
    """Diameters in micrometres and g-ratio, by number."""


def fibres_of(codes: Codes, rule: ObjectRule) -> Fibres:
    """Return the axons of a class map with pixels of the model."""
    with tempfile.TemporaryDirectory() as folder:
        raster, labels, table = (
            Path(folder) / name for name in ("a.tif", "b.labels.tif", "c.objects.parquet")
        )
        with rasterio.open(
            raster, "w", driver="GTiff", width=codes.shape[1], height=codes.shape[0], count=1, dtype="uint8"
        ) as dataset:
            dataset.write(codes, 1)
        polygonize(raster, [labels, table], PolygonizeOptions(objects=(rule,)))
        with rasterio.open(labels) as dataset:
            numbers = dataset.read(1)
        found = pd.read_parquet(table).set_index("object")
    sizes = found[["axon_diameter_px", "fibre_diameter_px"]] * MICROMETRES
    return Fibres(numbers, sizes.rename(columns=lambda name: name[:-3]).join(found["g_ratio"]))


def matched(truth: Fibres, mapped: Fibres) -> pd.DataFrame:
    """Return axons of both that are the same: columns of the masks, and with ``_map`` those of the map."""
    pairs = pd.DataFrame({"one": truth.numbers.ravel(), "other": mapped.numbers.ravel()})
    both = pairs[(pairs["one"] > 0) & (pairs["other"] > 0)].value_counts().reset_index(name="pixels")
    pixels = [np.bincount(fibres.numbers.ravel()) for fibres in (truth, mapped)]
    union = pixels[0][both["one"]] + pixels[1][both["other"]] - both["pixels"]
    same: pd.DataFrame = both[both["pixels"] / union > SAME]
    return same.join(truth.table, on="one").join(mapped.table.add_suffix("_map"), on="other")


def codes_of(picture: Path, masks: Path, model: str, mpp: float) -> tuple[Codes, Codes]:
    """Return the masks and the map of a model of one picture, both in pixels of the model."""
    with tempfile.TemporaryDirectory() as folder:
        result = st.segment(picture, model=model, out=Path(folder) / "map", source_mpp=mpp, format="zarr")
        mapped = np.asarray(result.classes)
    with Image.open(masks) as image:
        values = np.asarray(image)
    truth = Image.fromarray(values).resize(mapped.shape[::-1], Image.Resampling.NEAREST)
    return np.asarray(truth), mapped.astype(np.uint8)


def main() -> None:
    """Print the scores of each picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with images, labels, files.csv")
    parser.add_argument("--model", default="axon-myelin", help="a bundled model, or a folder")
    parser.add_argument("--animal", default="sub-rat6", help="whose pictures; sub-rat6 was never trained on")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    rule = next(iter(load_manifest(find_model(options.model)).classes.objects), None)
    rule = rule or ObjectRule("axon", reach=30, min_pixels=20, sheath="myelin")
    by_code = ObjectRule("2", reach=rule.reach, min_pixels=rule.min_pixels, sheath="1")
    with (options.data / "files.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["animal"] == options.animal]
    for row in rows:
        picture, masks = (options.data / folder / f"{row['name']}.png" for folder in ("images", "labels"))
        truth, mapped = codes_of(picture, masks, options.model, float(row["pixel_size_x_um"]))
        report(row["name"], truth, mapped, by_code)


def report(name: str, truth: Codes, mapped: Codes, rule: ObjectRule) -> None:
    """Print what one picture has."""
    for code, known in enumerate(CLASSES):
        one, other = truth == code, mapped == code
        print(f"{name} {known}: Dice {2 * (one & other).sum() / (one.sum() + other.sum()):.3f}")
    fibres: list[Any] = [fibres_of(codes, rule) for codes in (truth, mapped)]
    same = matched(*fibres)
    counts = [len(entry.table) for entry in fibres]
    f1 = 2 * len(same) / sum(counts)
    print(
        f"{name} axons: {counts[0]} in the masks, {counts[1]} in the map, {len(same)} the same, F1 {f1:.3f}"
    )
    for column in ("axon_diameter", "fibre_diameter", "g_ratio"):
        off = same[f"{column}_map"] - same[column]
        print(
            f"{name} {column}: median {fibres[0].table[column].median():.3f} in the masks, "
            f"{fibres[1].table[column].median():.3f} in the map; of the same axons {off.median():+.3f} in the median, "
            f"{off.abs().quantile(0.9):.3f} at most for nine of ten"
        )


if __name__ == "__main__":
    main()
