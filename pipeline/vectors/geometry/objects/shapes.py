"""Shape of objects, from sums of the coordinates of their pixels and from their outlines.

Axes, orientation and eccentricity are those of the ellipse with the same second moments, as in scikit-image's
`regionprops`; lengths and angles are on the ground if there is one, by the scale at the centroid.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.vectors.geometry.measure import Measure
from segment_tiles.pipeline.vectors.geometry.objects.attributes import LARGEST_EXTENT, ObjectAttributes
from segment_tiles.pipeline.vectors.geometry.rings import Polygons

Array = NDArray[np.float64]

ROUNDING: Final = 1e-9
"""Of moments: those of a square are equal but for the last digits."""
OBJECT_FIELDS: Final = (
    ("identity", pa.int64()),
    ("centroid_x", pa.float64()),
    ("centroid_y", pa.float64()),
    ("equivalent_diameter", pa.float64()),
    ("major_axis", pa.float64()),
    ("minor_axis", pa.float64()),
    ("orientation", pa.float64()),
    ("eccentricity", pa.float64()),
    ("solidity", pa.float64()),
    ("neighbours", pa.int64()),
)
"""Columns of a part, in the order of `shape_columns`."""


def shape_columns(
    attributes: ObjectAttributes,
    world: Polygons,
    areas: Array,
    extents: Array,
    georef: GeoRef,
    measure: Measure,
) -> list[NDArray[Any]]:
    """Return the columns of `OBJECT_FIELDS`.

    Parameters
    ----------
    attributes
        Whole features.
    world
        Their geometries in coordinates of the raster.
    areas
        In the square of the unit of the columns.
    extents
        Longer side of the box of each, in pixels.
    georef, measure
        Of the raster, and how it is measured.
    """
    number = attributes.pixels
    row, column = attributes.row_sums / number, attributes.column_sums / number
    rows = attributes.row_squares / number - row**2
    both = attributes.products / number - row * column
    columns = attributes.column_squares / number - column**2
    x, y = _world(georef, attributes.rows + row + 0.5, attributes.columns + column + 0.5)
    major, minor = _axes(rows, both, columns, x, y, georef, measure)
    angle = _orientation(*_on_ground(rows, both, columns, _pixel_metric(x, y, georef, measure)))
    too_large = extents > LARGEST_EXTENT
    shapes = [
        np.sqrt(4 * areas / np.pi),
        major,
        minor,
        np.degrees(angle),
        np.sqrt(1 - np.divide(minor**2, major**2, out=np.ones_like(major), where=major > 0)),
    ]
    for values in shapes[1:]:
        values[too_large] = np.nan
    solidity = shapely.area(world) / shapely.area(shapely.convex_hull(world))
    return [attributes.identities, x, y, *shapes, solidity, attributes.neighbours]


def _world(georef: GeoRef, rows: Array, columns: Array) -> tuple[Array, Array]:
    a, b, c, d, e, f = georef.transform
    return a * columns + b * rows + c, d * columns + e * rows + f


def _axes(
    rows: Array, both: Array, columns: Array, x: Array, y: Array, georef: GeoRef, measure: Measure
) -> tuple[Array, Array]:
    """Return the axes of the ellipse in the unit of the columns, the longer one first."""
    a, b, _, d, e, _ = georef.transform
    xx = a * a * columns + 2 * a * b * both + b * b * rows
    xy = a * d * columns + (a * e + b * d) * both + b * e * rows
    yy = d * d * columns + 2 * d * e * both + e * e * rows
    if measure.ground is None:
        factor = measure.factor**2
        trace, root = (xx + yy) * factor, np.sqrt((xx - yy) ** 2 + 4 * xy**2) * factor
    else:
        # eigenvalues of the moments times the metric of the ground
        scale = measure.ground.scales(x, y)
        p, q = xx * scale.xx + xy * scale.xy, xx * scale.xy + xy * scale.yy
        r, s = xy * scale.xx + yy * scale.xy, xy * scale.xy + yy * scale.yy
        trace, root = p + s, np.sqrt(np.maximum((p - s) ** 2 + 4 * q * r, 0))
    longer, shorter = np.maximum((trace + root) / 2, 0), np.maximum((trace - root) / 2, 0)
    return 4 * np.sqrt(longer), 4 * np.sqrt(shorter)


def _pixel_metric(x: Array, y: Array, georef: GeoRef, measure: Measure) -> tuple[Array, Array, Array]:
    """Return the squared length of a row and a column of pixels, and the product of both, at the centroids."""
    a, b, _, d, e, _ = georef.transform
    if measure.ground is None:
        one = np.ones_like(x)
        xx, xy, yy = one, 0 * one, one
    else:
        scale = measure.ground.scales(x, y)
        xx, xy, yy = scale.xx, scale.xy, scale.yy
    down = b * b * xx + 2 * b * e * xy + e * e * yy
    between = a * b * xx + (a * e + b * d) * xy + d * e * yy
    across = a * a * xx + 2 * a * d * xy + d * d * yy
    return down, between, across


def _on_ground(
    rows: Array, both: Array, columns: Array, metric: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Return the moments along the axis of rows and at right angles to it, in units of the ground."""
    down, between, across = metric
    # a column leans along the rows by `slant` of their length, and goes `side` times as far to the right of them
    slant = between / down
    side = np.sqrt(np.maximum(across / down - slant**2, 0))
    along = rows + 2 * slant * both + slant**2 * columns
    return along, side * (both + slant * columns), side**2 * columns


def _orientation(rows: Array, both: Array, columns: Array) -> Array:
    """Return the angle from the axis of rows to the longer axis, anticlockwise, as scikit-image counts it."""
    rounding = ROUNDING * (rows + columns)
    equal = np.abs(rows - columns) <= rounding
    angle = 0.5 * np.arctan2(2 * both, rows - columns)
    return np.where(equal, np.where(both > rounding, np.pi / 4, -np.pi / 4), angle)
