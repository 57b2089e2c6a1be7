"""Which band of a raster file holds classes, and whether its values look like classes at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

SAMPLES: Final = 4
"""Windows along each side that are looked at."""
SAMPLE_SIDE: Final = 64
"""Side of one in pixels."""
VALUES: Final = 48
"""More values than these, in windows where most neighbours differ, are measurements and no classes."""


def class_band(name: str, dataset: rasterio.DatasetReader, band: int | None) -> int:
    """Return the band of classes, from 1: the one asked for, or the only one beside a band of alpha.

    Raises
    ------
    UsageError
        When there is no such band.
    VectorError
        When there are several, or none but further rasters in the file.
    """
    if dataset.count == 0:
        inside = ", ".join(dataset.subdatasets[:5])
        more = f" and {len(dataset.subdatasets) - 5} more" if len(dataset.subdatasets) > 5 else ""
        what = f"it holds further rasters: name one of {inside}{more}" if inside else "give a class raster"
        msg = f"{name} has no bands; {what}"
        raise VectorError(msg)
    if band is not None:
        if not 1 <= band <= dataset.count:
            msg = f"--band is {band}; {name} has the bands 1 to {dataset.count}"
            raise UsageError(msg)
        return band
    bands = [number for number, color in enumerate(dataset.colorinterp, 1) if color != ColorInterp.alpha]
    if len(bands) != 1:
        msg = (
            f"{name} has {dataset.count} bands ({_told(dataset)}), and classes are in one: "
            "give a raster of that band alone, or to polygonize say which with --band"
        )
        raise VectorError(msg)
    return bands[0]


def _told(dataset: rasterio.DatasetReader) -> str:
    names = [
        described or color.name
        for described, color in zip(dataset.descriptions, dataset.colorinterp, strict=True)
    ]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def refuse_photograph(
    name: str, spec: ClassRasterSpec, read: Callable[[Window], NDArray[np.integer]]
) -> None:
    """Refuse a raster without names and colours of classes whose values change from pixel to pixel.

    Nearly every pixel of a picture, an elevation model or an index would become a polygon of its own. Of a class map
    most neighbours are equal, however many classes it has.

    Raises
    ------
    VectorError
        Saying what was found.
    """
    samples = [read(window) for window in _windows(spec.height, spec.width)]
    values = np.unique(np.concatenate([sample.ravel() for sample in samples]))
    values = values[values != spec.nodata] if spec.nodata is not None else values
    differing = np.concatenate([(sample[:, 1:] != sample[:, :-1]).ravel() for sample in samples])
    if len(values) <= VALUES or not differing.size or differing.mean() <= 0.5:
        return
    msg = (
        f"{name} looks like a picture or measurements, not classes: {len(values)} values, from {values[0]} to "
        f"{values[-1]}, in a sample, and {differing.mean():.0%} of neighbouring pixels differ; "
        "say --band 1 to polygonize it as it is"
    )
    raise VectorError(msg)


def _windows(height: int, width: int) -> list[Window]:
    """Return windows all over a raster."""
    rows, columns = (
        np.unique(np.linspace(0, max(0, side - SAMPLE_SIDE), SAMPLES).astype(int)) for side in (height, width)
    )
    return [
        Window(int(row), int(column), min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width))
        for row in rows
        for column in columns
    ]
