"""How long a pixel is on the ground, and a scale bar of a round length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.ground import ground_of, metres_of_unit

_SYMBOLS: Final = {
    "pixel": "px",
    "map unit": "map units",
    "micrometer": "µm",
    "millimeter": "mm",
    "metre": "m",
}


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A length to draw."""

    pixels: float
    """Length in pixels of the picture."""
    label: str
    """The length with its unit, such as ``50 m``."""


def ground_pixel_width(georef: GeoRef, shape: tuple[int, int]) -> tuple[float, str]:
    """Return the width of a pixel and its unit: metres if there is a CRS, else the unit of the raster.

    It is measured on the ground in the middle of the raster; other widths are those of the coordinates.
    """
    a, _, _, d, _, _ = georef.transform
    crs, ground = georef.crs, ground_of(georef)
    if crs is None:
        return math.hypot(a, d), georef.unit
    if ground is not None:
        x, y = georef.affine @ (shape[1] / 2, shape[0] / 2)
        width = float(ground.scales(np.array([x]), np.array([y])).length(a, d)[0])
        if width > 0:
            return width, "metre"
    return math.hypot(a, d) * (metres_of_unit(crs) or 1.0), "metre"


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
