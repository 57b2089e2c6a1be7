"""How long a pixel is on the ground, and a scale bar of a round length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pyproj import Geod

from segment_tiles.pipeline.grid.georef import GeoRef

_SYMBOLS: Final = {"pixel": "px", "micrometer": "µm", "millimeter": "mm", "metre": "m"}


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A length to draw."""

    pixels: float
    """Length in pixels of the picture."""
    label: str
    """The length with its unit, such as ``50 m``."""


def ground_pixel_width(georef: GeoRef, shape: tuple[int, int]) -> tuple[float, str]:
    """Return the width of a pixel and its unit: metres where there is a CRS, else the unit of the raster.

    In degrees a pixel's width depends on the latitude; it is taken in the middle of the raster.
    """
    a, b, c, d, e, f = georef.transform
    crs = georef.crs
    if crs is None:
        return math.hypot(a, d), georef.unit
    if not crs.is_geographic:
        factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return math.hypot(a, d) * factor, "metre"
    row, column = shape[0] / 2, shape[1] / 2
    x, y = a * column + b * row + c, d * column + e * row + f
    geod = crs.get_geod() or Geod(ellps="WGS84")
    return float(geod.inv(x, y, x + a, y + d)[2]), "metre"


def round_scale_bar(pixel_width: float, unit: str, longest: float) -> ScaleBar:
    """Return the longest bar of 1, 2 or 5 times a power of ten that fits.

    Parameters
    ----------
    pixel_width
        Width of a pixel of the picture, in ``unit``.
    unit
        metre, pixel, micrometer or millimeter.
    longest
        Room for the bar, in pixels of the picture.

    >>> round_scale_bar(0.1, "metre", 100)
    ScaleBar(pixels=100.0, label='10 m')
    """
    room = pixel_width * longest
    power = 10.0 ** math.floor(math.log10(room) + 1e-9)
    length = max(step * power for step in (1, 2, 5) if step * power <= room * (1 + 1e-9))
    return ScaleBar(round(length / pixel_width, 6), _label(length, unit))


def _label(length: float, unit: str) -> str:
    if unit == "metre" and length >= 1000:
        return f"{length / 1000:g} km"
    if unit == "metre" and length < 1:
        return f"{length * 100:g} cm" if length >= 0.01 else f"{length * 1000:g} mm"
    return f"{length:g} {_SYMBOLS.get(unit, unit)}"
