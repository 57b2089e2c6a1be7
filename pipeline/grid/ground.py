"""Areas and lengths on the ellipsoid of what is drawn with straight lines in a CRS.

Area is found in the plane of an equal-area map of the same ellipsoid, in which the area of any figure is that of the
ground (Snyder 1987, equations 3-12 and 10-14)::

    polygon in the CRS --> points along its edges --> longitude, latitude --> X = a lambda, Y = a q(phi) / 2

Small figures take their area in the CRS times the scale in their middle instead: quicker, and free of the rounding of
inverse projections, which for pixels of a centimetre would be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window

Array = NDArray[np.float64]
Polygons = NDArray[np.object_]

LONGEST_EDGE: Final = 10_000.0
"""Metres of a straight piece of an edge; what a longer one is off the curve adds up to less than 1e-5 of an area."""
SMALL: Final = 10_000.0
"""Metres of a figure that one scale is enough for: the square of its change across, over 24, is left out."""
STEP: Final = 200.0
"""Metres to both sides over which a scale is found: far above the rounding of any inverse projection."""
ROUNDING: Final = 1e-9
"""Radians that a latitude may lie beyond a pole: corners of global grids are there but for the last digits."""
PIECES_AT_MOST: Final = 8192
"""Of one edge."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Metres on the ground for map units at some points: length^2 = xx dx^2 + 2 xy dx dy + yy dy^2."""

    xx: Array
    xy: Array
    yy: Array

    @property
    def area(self) -> Array:
        """Square metres of a square map unit."""
        return np.asarray(np.sqrt(np.maximum(self.xx * self.yy - self.xy**2, 0.0)))

    def length(self, dx: Array | float, dy: Array | float) -> Array:
        """Return metres of short lines."""
        return np.asarray(
            np.sqrt(np.maximum(self.xx * dx * dx + 2 * self.xy * dx * dy + self.yy * dy * dy, 0.0))
        )


class Ground:
    """The ellipsoid below a CRS.

    A figure outside the domain of the projection, or beyond a pole, is not on the ground: its area and length are NaN.

    Parameters
    ----------
    semi_major, eccentricity
        Of the ellipsoid; metres.
    unit
        Radians of a unit of longitude and latitude, in the CRS itself if it is geographic, else in its base.
    projected
        From the CRS to longitude and latitude; None if those are its coordinates.
    metres
        Of a map unit, roughly: one of latitude if the CRS is geographic.
    """

    def __init__(
        self,
        semi_major: float,
        eccentricity: float,
        unit: float,
        projected: Transformer | None,
        metres: float,
    ) -> None:
        self._a, self._e, self._unit = semi_major, eccentricity, unit
        self._projected, self._metres = projected, metres

    @property
    def is_geographic(self) -> bool:
        """Whether coordinates are longitude and latitude."""
        return self._projected is None

    def scales(self, x: Array, y: Array) -> Scales:
        """Return the scales at points of the CRS."""
        if self._projected is None:
            _, latitude = self._angles(x, y)
            parallel, meridian = self._radii(latitude)
            east, north = parallel * np.cos(latitude) * self._unit, meridian * self._unit
            return Scales(east**2, np.zeros_like(east), north**2)
        step = STEP / self._metres
        _, latitude = self._angles(x, y)
        parallel, meridian = self._radii(latitude)
        sides = []
        for dx, dy in ((step, 0.0), (0.0, step)):
            ahead, behind = self._angles(x + dx, y + dy), self._angles(x - dx, y - dy)
            east = _turn(ahead[0] - behind[0]) * parallel * np.cos(latitude) / (2 * step)
            sides.append((east, (ahead[1] - behind[1]) * meridian / (2 * step)))
        (ux, vx), (uy, vy) = sides
        return Scales(ux**2 + vx**2, ux * uy + vx * vy, uy**2 + vy**2)

    def measured(self, polygons: Polygons, planar_areas: Array | None = None) -> tuple[Array, Array]:
        """Return areas in square metres and perimeters in metres.

        Parameters
        ----------
        polygons
            Polygons and MultiPolygons in coordinates of the CRS.
        planar_areas
            In square map units, if they are known better than from the coordinates.
        """
        bounds = shapely.bounds(polygons).reshape(-1, 4)
        size = np.max(bounds[:, 2:] - bounds[:, :2], axis=1, initial=0.0) * self._metres
        small = (size <= SMALL) & (self._projected is not None)
        areas, perimeters = np.zeros(len(polygons)), np.zeros(len(polygons))
        if small.any():
            planar = shapely.area(polygons[small]) if planar_areas is None else planar_areas[small]
            areas[small], perimeters[small] = self._small(polygons[small], bounds[small], planar)
        if not small.all():
            areas[~small], perimeters[~small] = self._large(polygons[~small])
        return areas, perimeters

    def pixel_areas(self, georef: GeoRef, windows: Sequence[Window]) -> Array:
        """Return the mean area of a pixel of each window, in square metres."""
        corners = np.array([georef.corners(window) for window in windows], dtype=np.float64).reshape(-1, 4, 2)
        boxes: Polygons = np.asarray(shapely.polygons(corners), dtype=np.object_)
        pixels = np.array([window.height * window.width for window in windows], dtype=np.float64)
        return np.asarray(self.measured(boxes, pixels * georef.pixel_area)[0] / pixels)

    def _small(self, polygons: Polygons, bounds: Array, planar: Array) -> tuple[Array, Array]:
        scales = self.scales(*((bounds[:, :2] + bounds[:, 2:]) / 2).T)
        edges = _edges(polygons)
        here = Scales(*(part[edges.owner] for part in (scales.xx, scales.xy, scales.yy)))
        lengths = here.length(*(edges.stop - edges.start).T)
        return planar * scales.area, _sums(edges.owner, lengths, len(polygons))

    def _large(self, polygons: Polygons) -> tuple[Array, Array]:
        edges = _edges(polygons).cut(LONGEST_EDGE / self._metres)
        starts, stops = (self._angles(*points.T) for points in (edges.start, edges.stop))
        lengths = np.linalg.norm(self._in_space(*stops) - self._in_space(*starts), axis=1)
        turned = stops[0] - starts[0] if self._projected is None else _turn(stops[0] - starts[0])
        rings = len(edges.is_shell)
        # a ring around a pole does not come back to its longitude: its area is what lies between it and the pole
        encircles_pole = np.abs(_sums(edges.ring, turned, rings)) > np.pi
        mean_latitude = _sums(edges.ring, starts[1], rings)
        first = np.searchsorted(edges.ring, np.arange(rings))
        base = np.where(encircles_pole, np.copysign(np.pi / 2, mean_latitude), starts[1][first])
        height = (self._authalic(starts[1]) + self._authalic(stops[1])) / 2 - self._authalic(base)[edges.ring]
        parts = np.abs(_sums(edges.ring, turned * height, rings))
        signed = np.where(edges.is_shell, parts, -parts) * self._a
        areas = _sums(edges.owner_of_ring, signed, len(polygons))
        return areas, _sums(edges.owner, lengths, len(polygons))

    def _angles(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return longitude and latitude in radians; NaN outside the domain of the projection."""
        if self._projected is not None:
            x, y = self._projected.transform(x, y)
        longitude, latitude = x * self._unit, y * self._unit
        outside = ~(np.abs(latitude) <= np.pi / 2 + ROUNDING) | ~np.isfinite(longitude)
        return np.where(outside, np.nan, longitude), np.where(outside, np.nan, latitude)

    def _radii(self, latitude: Array) -> tuple[Array, Array]:
        """Return the radii of curvature across the meridian and along it."""
        below = 1 - (self._e * np.sin(latitude)) ** 2
        return self._a / np.sqrt(below), self._a * (1 - self._e**2) / below**1.5

    def _authalic(self, latitude: Array) -> Array:
        """Return Y of the cylindrical equal-area map."""
        sine = np.sin(latitude)
        if self._e == 0:
            return np.asarray(self._a * sine)
        below = 1 - (self._e * sine) ** 2
        return np.asarray(
            self._a * (1 - self._e**2) / 2 * (sine / below + np.arctanh(self._e * sine) / self._e)
        )

    def _in_space(self, longitude: Array, latitude: Array) -> Array:
        """Return geocentric x, y, z."""
        parallel, _ = self._radii(latitude)
        flat = parallel * np.cos(latitude)
        up = parallel * (1 - self._e**2) * np.sin(latitude)
        return np.column_stack([flat * np.cos(longitude), flat * np.sin(longitude), up])


def ground_of(georef: GeoRef) -> Ground | None:
    """Return the ellipsoid below a raster; None if it has no CRS, or one that cannot be converted to an ellipsoid."""
    return None if georef.crs_wkt is None else _ground_of_crs(georef.crs_wkt)


@lru_cache(maxsize=8)
def _ground_of_crs(wkt: str) -> Ground | None:
    crs = CRS.from_wkt(wkt)
    base, ellipsoid = crs.geodetic_crs, crs.ellipsoid
    if base is None or ellipsoid is None or not base.axis_info or not base.is_geographic:
        return None
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    eccentricity = float(np.sqrt(max(0.0, 1 - (b / a) ** 2)))
    is_plain = crs.is_geographic and not crs.is_derived
    if is_plain:
        unit = float(crs.axis_info[0].unit_conversion_factor)
        return Ground(a, eccentricity, unit, None, a * unit)
    if base.is_derived and base.source_crs is not None:
        base = base.source_crs
    metres = float(crs.axis_info[0].unit_conversion_factor or 1.0) if crs.axis_info else 1.0
    if crs.is_geographic:
        metres *= a
    try:
        transformer = Transformer.from_crs(crs, base, always_xy=True)
    except ProjError:  # a projection that PROJ does not know
        return None
    return Ground(a, eccentricity, float(base.axis_info[0].unit_conversion_factor), transformer, metres)


def metres_of_unit(crs: CRS) -> float | None:
    """Return the metres of a unit of the coordinates; None if they are angles."""
    if crs.is_geographic:
        return None
    return float(crs.axis_info[0].unit_conversion_factor or 1.0) if crs.axis_info else 1.0


@dataclass(frozen=True, slots=True)
class _Edges:
    """Edges of all rings of some polygons."""

    start: Array
    stop: Array
    """edges x 2: x, y."""
    ring: NDArray[np.intp]
    """Per edge."""
    owner_of_ring: NDArray[np.intp]
    """Per ring, the polygon."""
    is_shell: NDArray[np.bool_]
    """Per ring."""

    @property
    def owner(self) -> NDArray[np.intp]:
        """Per edge, the polygon."""
        return self.owner_of_ring[self.ring]

    def cut(self, longest: float) -> _Edges:
        """Return the same edges in pieces that are no longer than this along either axis."""
        span = np.abs(self.stop - self.start).max(axis=1, initial=0.0)
        pieces = np.clip(np.ceil(span / longest), 1, PIECES_AT_MOST).astype(np.intp)
        edge = np.repeat(np.arange(len(pieces)), pieces)
        number = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        start, along, count = self.start[edge], (self.stop - self.start)[edge], pieces[edge][:, None]
        begin = start + along * (number[:, None] / count)
        end = np.where(
            number[:, None] + 1 == count, self.stop[edge], start + along * ((number[:, None] + 1) / count)
        )
        return _Edges(begin, end, self.ring[edge], self.owner_of_ring, self.is_shell)


def _edges(polygons: Polygons) -> _Edges:
    parts, owner = shapely.get_parts(polygons, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    is_shell = np.concatenate([[True], part[1:] != part[:-1]]) if len(part) else np.empty(0, np.bool_)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[1:] == ring[:-1]
    return _Edges(points[:-1][within], points[1:][within], ring[:-1][within], owner[part], is_shell)


def _sums(group: NDArray[np.intp], values: Array, groups: int) -> Array:
    return np.asarray(np.bincount(group, values, groups), dtype=np.float64)


def _turn(angle: Any) -> Any:
    """Return angles in radians between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
