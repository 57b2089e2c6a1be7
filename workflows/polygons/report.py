"""What a polygonisation tells: totals of each class, and notes on coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segment_tiles.pipeline.vectors.files.formats import VectorFormat
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import read_part_columns
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec


@dataclass(frozen=True, slots=True)
class ClassTotal:
    """All features of one class."""

    code: int
    """Class code."""
    name: str
    """Class name."""
    features: int
    """Number of features."""
    pixels: int
    """Number of their pixels."""
    area: float
    """Sum of their areas, in square units of the report."""


@dataclass(frozen=True, slots=True)
class PolygonizeReport:
    """What a polygonisation gave."""

    files: tuple[Path, ...]
    """The files written."""
    features: int
    """Number of features."""
    classes: tuple[ClassTotal, ...]
    """Totals of each class that has a feature."""
    unit: str
    """Unit of length: m, px, um or mm; areas are in its square."""
    notes: tuple[str, ...]
    """What the user should know: pixel coordinates, reprojection."""
    seconds: float
    """Wall time."""


def class_totals(parts: Sequence[Path], layer: Layer) -> tuple[ClassTotal, ...]:
    """Return what the parts of a layer hold of each class."""
    sums = {entry.code: np.zeros(3) for entry in layer.classes}
    for part in parts:
        code, pixels, area = read_part_columns(part, ["code", "pixels", "area"])
        for value in np.unique(code):
            chosen = code == value
            sums[int(value)] += [chosen.sum(), pixels[chosen].sum(), area[chosen].sum()]
    return tuple(
        ClassTotal(entry.code, entry.name, int(sums[entry.code][0]), int(sums[entry.code][1]),
                   float(sums[entry.code][2]))
        for entry in layer.classes
    )  # fmt: skip


def placement_notes(spec: ClassRasterSpec, targets: Sequence[tuple[Path, VectorFormat]]) -> tuple[str, ...]:
    """Return what the user should know of the raster and of where its polygons lie."""
    if spec.georef.crs_wkt is None:
        if spec.georef.unit in {"micrometer", "millimeter"}:  # a slide or a volume: nobody expects a CRS
            return spec.notes
        return (
            *spec.notes,
            f"the raster has no CRS: coordinates are in {spec.georef.unit}s, and no file names a CRS",
        )
    converted = (
        f"{path.name}: the format holds only {kind.fixed_crs}; coordinates were converted"
        for path, kind in targets
        if kind.fixed_crs is not None
    )
    return (*spec.notes, *converted)
