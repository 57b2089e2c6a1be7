"""What a polygonisation tells: totals of each class, and notes on coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.vectors.files.formats import VectorFormat
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import read_part_columns
from segment_tiles.pipeline.vectors.objects.cells import area_of_cells
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
    """Totals of each class that has a feature, or may have objects."""
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
    report: PolygonizeReport, spec: ClassRasterSpec, classes: Sequence[MapClass], valid: NDArray[np.int64]
) -> PolygonizeReport:
    """Return a report with the densities of objects, of each class that may have some.

    Parameters
    ----------
    report
        Without them.
    spec
        The raster.
    classes
        With objects.
    valid
        Pixels with a class, of any, by the cells of `area_of_cells`.
    """
    unit, pixels = "million px", int(valid.sum()) / 1e6
    area = area_of_cells(valid, spec)
    size = {"m": ("ha", area / 1e4), "um": ("mm2", area / 1e6), "mm": ("mm2", area)}
    unit, covered = size.get(report.unit, (unit, pixels))
    known = {entry.code for entry in report.classes}
    empty = [ClassTotal(entry.code, entry.name, 0, 0, 0.0) for entry in classes if entry.code not in known]
    codes = {entry.code for entry in classes}
    totals = tuple(
        replace(entry, density=entry.features / covered if covered else 0.0) if entry.code in codes else entry
        for entry in sorted((*report.classes, *empty), key=lambda entry: entry.code)
    )
    return replace(report, classes=totals, density_unit=unit)


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
