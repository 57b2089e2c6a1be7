"""Labels of a scene: a vector file, a class raster or the map of a run, read window by window as class codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from segment_tiles.pipeline.accepted import PolygonShape
from segment_tiles.pipeline.errors import TrainingError, UsageError, one_line
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.instances import InstanceRaster
from segment_tiles.pipeline.learning.data.label_rasters import ClassMapLabels, RasterLabels, class_map_store
from segment_tiles.pipeline.learning.data.polygon_pixels import bare_class, in_crs_of, in_pixels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.areas.vector_file import read_polygon_layer, split_layer
from segment_tiles.pipeline.wording import counted

VECTOR_SUFFIXES = frozenset({".geojson", ".json", ".gpkg", ".parquet", ".shp", ".fgb", ".gml", ".kml"})
TINY = 1e-9
"""Share of an area that rounding leaves."""


class LabelReader(Protocol):
    """Class codes on the grid of a scene."""

    notes: tuple[str, ...]
    """What was repaired or left out, one line each, for the log."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns; ``IGNORE_CODE`` if there is no label."""

    def close(self) -> None:
        """Close the file."""


def open_labels(scene: SceneSettings, path: str, spec: RasterSpec, class_names: Sequence[str]) -> LabelReader:
    """Open the labels of a scene on the grid of its raster.

    Parameters
    ----------
    scene
        What the labels mean.
    path
        Their path, resolved.
    spec
        The grid of the raster.
    class_names
        Names of the classes in the order of their codes.

    Raises
    ------
    TrainingError
        The file cannot be read, does not overlap the scene, has no CRS to be reprojected from, or
        has a class that the configuration does not name.
    """
    if split_layer(path)[0].suffix.lower() in VECTOR_SUFFIXES:
        return PolygonLabels(scene, path, spec, class_names)
    store = class_map_store(path)
    if store is not None:
        return ClassMapLabels(scene, store, spec, class_names)
    if scene.instances is not None:
        return InstanceRaster(scene, path, spec, class_names)
    return RasterLabels(scene, path, spec, class_names)


def _code_of(value: object, scene: SceneSettings, class_names: Sequence[str]) -> int:
    """Return the class code of a value of the class column."""
    value = bare_class(value)
    name = scene.class_values.get(str(value), str(value))
    if name not in class_names:
        accepted = ", ".join(scene.class_values) or ", ".join(class_names)
        msg = (
            f"labels of scene {scene.name} have the class {value!r} in column {scene.class_column!r}; "
            f"accepted are {accepted}: name it in class_values (--class-value of evaluate)"
        )
        raise TrainingError(msg)
    return class_names.index(name)


def inscribed_ellipses(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    r"""Return the ellipse inscribed in the box around each geometry, as a polygon of 64 sides.

    ::

        +--.-'''-.--+
        | /       \ |   close to the crown of a tree in its box
        |(         )|
        | \       / |
        +--'-...-'--+
    """
    bounds = shapely.bounds(geometries)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    center = (bounds[:, :2] + bounds[:, 2:]) / 2
    half = (bounds[:, 2:] - bounds[:, :2]) / 2
    return np.asarray(shapely.polygons(center[:, None, :] + half[:, None, :] * ring[None]), dtype=object)


def _drawn(
    polygons: NDArray[np.object_], codes: NDArray[np.uint8], shape: PolygonShape
) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    r"""Return what is rasterised, lowest first: polygons in pixels, and their codes.

    ::

        ellipse_in_ignored_box     +--.-'''-.--+
                                   |i/  code \i|   i: ignored, unless the ellipse of a neighbour covers it
                                   +--'-...-'--+
    """
    if shape == "polygon":
        return polygons, codes
    ellipses = inscribed_ellipses(polygons)
    if shape == "inscribed_ellipse":
        return ellipses, codes
    return np.concatenate([polygons, ellipses]), np.concatenate([np.full_like(codes, IGNORE_CODE), codes])


class PolygonLabels:
    """Polygons of a vector file, rasterised on the fly: a pixel has the class of the polygon over its centre.

    Later polygons of the file lie above earlier ones.
    """

    def __init__(self, scene: SceneSettings, path: str, spec: RasterSpec, class_names: Sequence[str]) -> None:
        frame = _read_polygons(scene, path, spec)
        column = scene.class_column
        if column is None and len(scene.class_values) != 1 and scene.instances is None:
            msg = (
                f"labels of scene {scene.name} name no class_column and class_values has "
                f"{counted(len(scene.class_values), 'entry', 'entries')}; without a column it must name exactly one "
                "class"
            )
            raise TrainingError(msg)
        if column is not None and column not in frame.columns:
            msg = f"{path} has no column {column!r}; its columns are {', '.join(map(str, frame.columns))}"
            raise TrainingError(msg)
        geometries = np.asarray(frame.geometry.values, dtype=object)
        only = scene.instances or next(iter(scene.class_values), None)
        values = list(frame[column]) if column else [only] * len(frame)
        geometries, values, self.notes = _usable(geometries, values, scene.name)
        pixels = in_pixels(geometries, spec)
        codes = np.asarray([_code_of(v, scene, class_names) for v in values], dtype=np.uint8)
        self._geometries, self._codes = _drawn(pixels, codes, scene.polygon_shape)
        self._tree = shapely.STRtree(self._geometries)
        if scene.instances is not None:
            objects = self._geometries[self._codes != IGNORE_CODE]  # not boxes around ellipses
            self.notes += _overlap_notes(objects, shapely.STRtree(objects), scene.name)
        self._fill = IGNORE_CODE if scene.unlabelled is None else class_names.index(scene.unlabelled)
        if not len(self._tree.query(shapely.box(0, 0, spec.width, spec.height))):
            msg = (
                f"no polygon of {path} overlaps the scene {scene.name}; "
                f"in pixels of the scene they lie in {_box_text(self._geometries)}, "
                f"the scene is {spec.width} x {spec.height}: check the CRS of both"
            )
            raise TrainingError(msg)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        return np.asarray(self._rasterized(window, self._codes, self._fill, "uint8"), dtype=np.uint8)

    def read_numbers(self, window: Window, code: int) -> NDArray[np.int64]:
        """Return which polygon of a class each pixel is of, counted from 1, rows x columns; 0: none."""
        numbers = np.where(self._codes == code, np.arange(1, len(self._codes) + 1), 0)
        return np.asarray(self._rasterized(window, numbers, 0, "int32"), dtype=np.int64)

    def _rasterized(self, window: Window, values: NDArray[Any], fill: int, dtype: str) -> NDArray[Any]:
        box = shapely.box(window.column, window.row, window.column_stop, window.row_stop)
        hits = np.sort(self._tree.query(box))
        if not len(hits):
            return np.full(window.shape, fill, dtype=dtype)
        return np.asarray(
            rasterize(
                zip(self._geometries[hits], values[hits].tolist(), strict=True),
                out_shape=window.shape,
                fill=fill,
                transform=Affine.translation(window.column, window.row),
                dtype=dtype,
            )
        )

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _read_polygons(scene: SceneSettings, path: str, spec: RasterSpec) -> geopandas.GeoDataFrame:
    """Read a vector file and bring it into the CRS of the raster."""
    try:
        frame = read_polygon_layer(path, f"labels of scene {scene.name}, {path}")
    except UsageError as error:
        raise TrainingError(one_line(error)) from error
    if not len(frame):
        msg = f"labels of scene {scene.name}: {path} has no polygons"
        raise TrainingError(msg)
    labels = f"labels of scene {scene.name}"
    return in_crs_of(frame, spec, path, f"scene {scene.name}", labels)


def _usable(
    geometries: NDArray[np.object_], values: list[object], scene: str
) -> tuple[NDArray[np.object_], list[object], tuple[str, ...]]:
    """Leave out empty geometries, points and lines; repair self-crossing ones; say how many."""
    notes = []
    crossing = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    if crossing.any():
        geometries = np.where(crossing, shapely.make_valid(geometries), geometries)
        repaired = counted(int(crossing.sum()), "self-crossing polygon was", "self-crossing polygons were")
        notes.append(f"{scene}: {repaired} repaired")
    area = shapely.area(geometries)
    keep = ~shapely.is_missing(geometries) & ~shapely.is_empty(geometries) & (np.nan_to_num(area) > 0)
    if not keep.all():
        notes.append(f"{scene}: {counted(int((~keep).sum()), 'label')} without an area left out")
    if not keep.any():
        msg = f"scene {scene}: no label of {len(keep):,} has an area, they are empty or points; polygons are needed"
        raise TrainingError(msg)
    return geometries[keep], [v for v, k in zip(values, keep, strict=True) if k], tuple(notes)


def _overlap_notes(geometries: NDArray[np.object_], tree: shapely.STRtree, scene: str) -> tuple[str, ...]:
    """Return how many objects share ground with others, and how many are hidden by later ones and so are lost."""
    first, second = tree.query(geometries, predicate="intersects")
    shares = (first != second) & ~shapely.touches(geometries[first], geometries[second])
    first, second = first[shares], second[shares]
    if not len(first):
        return ()
    count = counted(len(np.unique(first)), "polygon")
    notes = [f"{count} of {scene} overlap others; later ones lie above"]
    later = second > first
    hidden = _hidden(geometries, first[later], second[later])
    if hidden:
        lost = counted(hidden, "polygon is", "polygons are")
        notes.append(
            f"{lost} wholly under later ones in {scene}, and no object; put them after those, or take one away"
        )
    return tuple(notes)


def _hidden(geometries: NDArray[np.object_], first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Return how many of the first of pairs, in rising order, leave nothing outside all of their seconds."""
    shared = shapely.area(shapely.intersection(geometries[first], geometries[second]))
    areas = shapely.area(geometries)
    covered = np.bincount(first, shared, len(geometries))
    count = 0
    for one in np.flatnonzero(covered >= areas * (1 - TINY)).tolist():
        start, stop = np.searchsorted(first, (one, one + 1))
        above = shapely.union_all(geometries[second[start:stop]])
        count += bool(shapely.area(shapely.difference(geometries[one], above)) <= areas[one] * TINY)
    return count


def _box_text(geometries: NDArray[np.object_]) -> str:
    left, top, right, bottom = shapely.total_bounds(geometries)
    return f"columns {left:.0f} to {right:.0f}, rows {top:.0f} to {bottom:.0f}"
