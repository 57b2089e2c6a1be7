"""Areas and lengths as the user gave them, turned into pixels of one raster."""

from __future__ import annotations

import math

import numpy as np
import shapely

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.geometry.measure import measure_of, sizes_of
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

ROUNDED = 0.01
"""Up to so much the scale of a projection is left out of a number of pixels: 4 square metres are one pixel of
2 x 2 m, though it is 3.99 on the ground."""


def pixels_of_area(text: str, spec: ClassRasterSpec) -> int:
    """Return the number of pixels that is at least an area: ``25px``, or ``25`` square units.

    The unit is the metre if there is a CRS, else the unit of the raster. In a geographic CRS the
    pixel in the middle of the raster counts.

    Raises
    ------
    UsageError
        When the text is not a number of 0 or more, or a number of pixels is not whole.
    """
    number, in_pixels = _number(text, "an area such as 25px or 120 (square metres)")
    if not in_pixels:
        return math.ceil(number / _pixel_area_in_user_units(spec) - 1e-9)
    if not number.is_integer():
        msg = f"{text!r} is not a whole number of pixels; give for example {math.ceil(number)}px"
        raise UsageError(msg)
    return int(number)


def pixels_of_length(text: str, spec: ClassRasterSpec) -> float:
    """Return the number of pixels of a length: ``2px``, or ``2`` units as in ``pixels_of_area``.

    Raises
    ------
    UsageError
        When the text is not a number of 0 or more.
    """
    number, in_pixels = _number(text, "a length such as 2px or 1.5 (metres)")
    return number if in_pixels else number / math.sqrt(_pixel_area_in_user_units(spec))


def pixel_area(spec: ClassRasterSpec) -> float:
    """Return the area of a pixel in square metres, or in square units of a raster without CRS."""
    measure = measure_of(spec.georef)
    pixel = shapely.Polygon(spec.georef.corners(Window(spec.height // 2, spec.width // 2, 1, 1)))
    sizes = sizes_of(measure, np.array([pixel], dtype=np.object_), None)
    area = float(sizes.areas[0])
    return area if area > 0 else float(sizes.planar_areas[0])  # the middle of the CRS is not on the ground


def _pixel_area_in_user_units(spec: ClassRasterSpec) -> float:
    """Return the area of a pixel as users count: that of the coordinates, unless the ground differs by more."""
    on_ground, in_plane = pixel_area(spec), spec.georef.pixel_area * measure_of(spec.georef).factor ** 2
    return in_plane if abs(in_plane - on_ground) <= ROUNDED * on_ground else on_ground


def _number(text: str, wanted: str) -> tuple[float, bool]:
    in_pixels = text.endswith("px")
    try:
        number = float(text.removesuffix("px"))
    except ValueError:
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise UsageError(f"{text!r} is not {wanted}")
    return number, in_pixels
