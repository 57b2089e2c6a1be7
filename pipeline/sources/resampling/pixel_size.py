"""Metres on the ground of a raster's pixels, and how many of them make one of another size."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.ground import ground_of, metres_of_unit
from segment_tiles.pipeline.grid.raster import RasterSpec

SAME_SIZE: Final = 0.01
"""Relative difference below which pixels have the same size, and the scale of a projection is left out."""
ROUNDING: Final = 1e-6
"""Relative difference of a factor and the whole number that it stands for."""
ENLARGED_AT_MOST: Final = 8
"""How many pixels of the result may lie along one of the source: more would show nothing, and cost its square."""
SHRUNK_AT_MOST: Final = 1000
"""How many pixels of the source may lie along one of the result: all are held together."""


def pixel_size(spec: RasterSpec) -> tuple[float, float] | None:
    """Return height and width of a pixel in metres on the ground, at the centre of the raster.

    Along its rows and columns, however they are turned. None without a CRS, and where the centre is not on the ground.
    """
    georef = spec.georef
    crs, ground = georef.crs, ground_of(georef)
    if crs is None:
        return None
    a, b, _, d, e, _ = georef.transform
    if ground is None:
        unit = metres_of_unit(crs)
        return None if unit is None else (math.hypot(b, e) * unit, math.hypot(a, d) * unit)
    x, y = georef.affine @ (spec.width / 2, spec.height / 2)
    scales = ground.scales(np.array([x]), np.array([y]))
    height, width = float(scales.length(b, e)[0]), float(scales.length(a, d)[0])
    if not (math.isfinite(height * width) and height * width > 0):
        return None
    unit = metres_of_unit(crs) or math.nan
    flat = math.hypot(b, e) * unit, math.hypot(a, d) * unit
    # in UTM a metre is up to 1.001 m of the map: nobody means that by a pixel of 0.5 m
    is_flat = max(abs(flat[0] / height - 1), abs(flat[1] / width - 1)) <= SAME_SIZE
    return flat if is_flat else (height, width)


def shown_size(size: tuple[float, float]) -> str:
    """Return a pixel size as messages have it.

    >>> shown_size((0.5, 0.5)), shown_size((30.0, 20.0))
    ('0.5 m', '20 x 30 m')
    """
    height, width = (f"{side:.3g}" for side in size)
    return f"{width} m" if height == width else f"{width} x {height} m"


def factors(spec: RasterSpec, metres: float, uri: str) -> tuple[float, float]:
    """Return pixels of a raster in one of so many metres, down and across; exactly 1 if they are alike.

    Raises
    ------
    UsageError
        If it has no size on the ground, would be enlarged or shrunk more than is accepted, or has a band of which no
        mean can be made.
    """
    size = pixel_size(spec)
    if size is None:
        msg = (
            f"--resolution is {metres:g}, but the pixels of {uri} have no size in metres: it has no CRS of the ground, "
            "or its centre lies outside of it; give --resolution native"
        )
        raise UsageError(msg)
    down, across = (metres / side for side in size)
    for times, limit, verb in (
        (1 / min(down, across), ENLARGED_AT_MOST, "enlarged"),
        (max(down, across), SHRUNK_AT_MOST, "shrunk"),
    ):
        if times > limit * (1 + SAME_SIZE):
            msg = (
                f"{uri}: has pixels of {shown_size(size)} and would be {verb} {times:,.0f} times to be read at "
                f"{metres:g} m; up to {limit} times are accepted: give another --resolution, or native"
            )
            raise UsageError(msg)
    if max(abs(down - 1), abs(across - 1)) <= SAME_SIZE:
        return 1.0, 1.0
    if spec.color_tables:
        msg = (
            f"{uri}: has pixels of {shown_size(size)} and would be resampled to {metres:g} m, but band "
            f"{spec.color_tables[0]} holds positions in a colour table, of which means are meaningless: give "
            "--resolution native, or make colours of them: gdal_translate -expand rgb"
        )
        raise UsageError(msg)
    return _whole(down), _whole(across)


def _whole(factor: float) -> float:
    """Return the whole number, or one divided by it, that a factor is but for the rounding of metres.

    >>> _whole(0.3 / 0.1), _whole(0.1 / 0.3), _whole(2.4)
    (3.0, 0.3333333333333333, 2.4)
    """
    near = round(factor) if factor >= 1 else 1 / round(1 / factor)
    return float(near) if abs(factor / near - 1) <= ROUNDING else factor
