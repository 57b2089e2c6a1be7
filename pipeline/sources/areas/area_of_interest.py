"""AOI: polygons that limit what is computed and written, never what the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.vector_file import is_of_qupath, read_polygon_layer, require_finite
from segment_tiles.pipeline.wording import counted


class Area(Protocol):
    """What limits a run, asked window by window."""

    def meets(self, window: Window) -> bool:
        """Return whether anything of a window may be wanted; cheap."""
        ...

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are wanted: rows x columns."""
        ...


class AreaOfInterest:
    """Polygons in the coordinates of a raster, asked window by window.

    A pixel is inside where its centre is.
    """

    def __init__(self, polygons: Sequence[Any], georef: GeoRef, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        """What the user should know of the file."""
        self._polygons = np.asarray(polygons, dtype=object)
        self._tree = shapely.STRtree(self._polygons)
        self._georef = georef

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Return min x, min y, max x, max y of all polygons."""
        bounds = shapely.total_bounds(self._polygons)
        return (float(bounds[0]), float(bounds[1]), float(bounds[2]), float(bounds[3]))

    def meets(self, window: Window) -> bool:
        """Return whether any polygon touches the box of a window; cheap, no pixel is drawn."""
        box = shapely.Polygon(self._georef.corners(window))
        return len(self._tree.query(box, predicate="intersects")) > 0

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are inside: rows x columns."""
        box = shapely.Polygon(self._georef.corners(window))
        near = self._polygons[self._tree.query(box, predicate="intersects")]
        if len(near) == 0:
            return np.zeros(window.shape, dtype=bool)
        drawn = rasterize(
            [(polygon, 1) for polygon in near],
            out_shape=window.shape,
            transform=self._georef.of_window(window).affine,
            dtype="uint8",
        )
        return np.asarray(drawn).astype(bool)


def read_area_of_interest(
    path: Path, georef: GeoRef, raster: Window, option: str = "--aoi"
) -> AreaOfInterest:
    """Read polygons from any vector file and bring them into the coordinates of a raster.

    Polygons on a slide are in full-resolution pixels, as QuPath writes them. ``option`` is what the user
    gave the file for.

    Raises
    ------
    UsageError
        If the file cannot be read, has several layers of which none is named, holds no polygon, cannot be
        placed on the raster, or lies outside it.
    """
    frame = read_polygon_layer(path, f"{option} {path}", columns=[])
    parts = shapely.get_parts(frame.geometry.to_numpy())
    is_polygon = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    polygons = shapely.make_valid(parts[is_polygon])
    if len(polygons) == 0:
        msg = f"{option} {path}: holds no polygon; give a file with at least one"
        raise UsageError(msg)
    what = f"{option} {path}"
    of_qupath = is_of_qupath(path)
    notes = [*_left_out(parts[~is_polygon], what), *_placing(polygons, georef, what, of_qupath=of_qupath)]
    area = AreaOfInterest(
        _reproject(polygons, frame.crs, georef, what, of_qupath=of_qupath), georef, tuple(notes)
    )
    if not area.meets(raster):
        msg = f"{option} {path}: covers {_numbers(area.bounds)}, outside the raster {_numbers(georef.bounds(raster))}"
        raise UsageError(msg)
    return area


def _left_out(parts: Any, what: str) -> list[str]:
    """Return a note of lines and points, which enclose nothing."""
    count = int((~shapely.is_empty(parts)).sum())
    if not count:
        return []
    are = "encloses nothing and is" if count == 1 else "enclose nothing and are"
    return [
        f"{what}: {counted(count, 'line or point', 'lines or points')} {are} left out; the polygons are used"
    ]


def _placing(polygons: Any, georef: GeoRef, what: str, *, of_qupath: bool) -> list[str]:
    """Return a note of polygons on a picture that lie on both sides of its top edge, so that they may be either."""
    if georef.full_resolution is None or of_qupath or georef.crs is not None:
        return []
    points = shapely.get_coordinates(polygons)
    if points[:, 1].min() >= 0 or points[:, 1].max() <= 0:
        return []
    taken = (
        "coordinates of results, y up" if georef.are_of_results(points) else "full-resolution pixels, y down"
    )
    return [f"{what}: has polygons above and below the top edge of the picture; they are taken for {taken}"]


def _reproject(polygons: Any, crs: Any, georef: GeoRef, what: str, *, of_qupath: bool) -> Any:
    target = georef.crs
    if target is None or crs is None:
        if target is not None or (crs is not None and CRS.from_user_input(crs).to_epsg() != 4326):
            which = "the raster" if target is None else "the file"
            msg = f"{what}: {which} has no CRS, so the polygons cannot be placed; give both the same"
            raise UsageError(msg)
        # GeoJSON always says WGS84: beside a raster without CRS it holds pixels
        return shapely.transform(polygons, georef.of_pixels_drawn if of_qupath else georef.from_user)
    source = CRS.from_user_input(crs)
    if source.equals(target, ignore_axis_order=True):
        return polygons
    try:
        transformer = Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        msg = (
            f"{what}: cannot be brought from {source.name} into the CRS of the raster, {target.name} "
            f"({one_line(error)}); convert it to that CRS first, or give the raster one that PROJ knows"
        )
        raise UsageError(msg) from error
    moved = shapely.transform(
        polygons, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
    )
    require_finite(moved, f"{what}: in the CRS of the raster, it has")
    return moved


def _numbers(bounds: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in bounds) + ")"
