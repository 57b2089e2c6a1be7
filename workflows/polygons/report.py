"""What a polygonisation tells: totals of each class, and notes on coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segment_tiles.pipeline.vectors.amounts import pixel_area
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
    density: float | None = None
    """Of objects: how many there are on `PolygonizeReport.density_unit` of the map that has a class."""


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
    density_unit: str | None = None
    """Unit of densities: ha, mm2 or million px; None: there are no objects."""

    def objects(self) -> dict[str, Any] | None:
        """Return numbers and densities of objects as plain JSON values; None: there are none."""
        if self.density_unit is None:
            return None
        classes = [
            {"code": entry.code, "name": entry.name, "objects": entry.features, "density": entry.density}
            for entry in self.classes
            if entry.density is not None
        ]
        return {"density_unit": self.density_unit, "classes": classes}


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


def with_densities(
    report: PolygonizeReport, spec: ClassRasterSpec, codes: Sequence[int], valid: int
) -> PolygonizeReport:
    """Return a report with the densities of objects.

    Parameters
    ----------
    report
        Without them.
    spec
        The raster.
    codes
        Classes with objects.
    valid
        Pixels with a class, of any.
    """
    unit, pixels = "million px", valid / 1e6
    area = valid * pixel_area(spec)
    size = {"m": ("ha", area / 1e4), "um": ("mm2", area / 1e6), "mm": ("mm2", area)}
    unit, where = size.get(report.unit, (unit, pixels))
    classes = tuple(
        replace(entry, density=entry.features / where) if entry.code in codes and where else entry
        for entry in report.classes
    )
    return replace(report, classes=classes, density_unit=unit)


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
