"""Objects of a label image or of polygons on one grid, window by window.

Polygons may overlap. They are put into layers in which none overlaps another, so each keeps all of its pixels::

    layer 1   1 1 1 1 . .        layer 2   . . . 2 2 2
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from segment_tiles.pipeline.errors import TrainingError, UsageError, one_line
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.instances import InstanceRaster
from segment_tiles.pipeline.learning.data.polygon_pixels import bare_class, in_crs_of, in_pixels
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.scores.objects.label_store import LabelStore
from segment_tiles.pipeline.sources.areas.vector_file import read_polygon_layer
from segment_tiles.pipeline.vectors.files.object_files import is_label_zarr
from segment_tiles.pipeline.wording import counted

CLASS_COLUMNS: Final = ("class_name", "class", "classification")
"""Columns of a class: of our own files, of others, of QuPath."""
NAMES_SHOWN: Final = 10
"""Classes that a message lists."""


class ObjectLayers(Protocol):
    """Objects on a grid."""

    notes: tuple[str, ...]

    def read(self, window: Window) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_] | None]:
        """Return layers of numbers, rows x columns, 0: no object; and which pixels are known, None: all."""

    def classes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class of each object."""

    def pixels_of_others(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return objects on the grid that are not drawn, for they cover no centre of a pixel.

        Parameters
        ----------
        drawn
            Numbers of objects that are, in rising order.

        Returns
        -------
        tuple
            Their numbers; and the row and column of a pixel that each lies in, n x 2.
        """

    def close(self) -> None:
        """Close the file."""


class LabelImage:
    """A label image, whose objects are all of one class."""

    def __init__(self, name: str, path: str, spec: RasterSpec, classes: Sequence[str]) -> None:
        if len(classes) != 1:
            named = ", ".join(classes)
            msg = (
                f"{path} is a label image, whose objects have no classes; name one by --objects, not {named}"
            )
            raise UsageError(msg)
        self._raster: InstanceRaster | LabelStore
        if is_label_zarr(Path(path)):
            self._raster = LabelStore(Path(path), name, spec)
        else:
            settings = SceneSettings(name=name, raster=path, labels=path, instances=classes[0])
            self._raster = InstanceRaster(settings, path, spec, classes)
        self.notes = self._raster.notes

    def read(self, window: Window) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_] | None]:
        """Return one layer, and which pixels are no nodata."""
        numbers, known = self._raster.read_objects(window)
        return [numbers], None if known.all() else known

    def classes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 0 for each."""
        return np.zeros(len(numbers), dtype=np.int64)

    def pixels_of_others(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return none: all have a pixel."""
        return drawn[:0], np.zeros((0, 2), dtype=np.int64)

    def close(self) -> None:
        """Close the file."""
        self._raster.close()


@dataclass(frozen=True, slots=True)
class Polygons:
    """Polygons of the classes that are scored."""

    geometries: NDArray[np.object_]
    classes: NDArray[np.int64]
    """Index of the class of each."""
    crs: Any
    notes: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Classes of the file that are not scored, in the order of the alphabet."""


def read_polygons(
    path: str, classes: Sequence[str], column: str | None, class_values: Mapping[str, str]
) -> Polygons:
    """Read the polygons of some classes.

    Parameters
    ----------
    path
        A vector file.
    classes
        Those that are scored.
    column
        Says the class; None: the first of `CLASS_COLUMNS` that there is, else all are of one class.
    class_values
        Value of the column -> class.

    Raises
    ------
    TrainingError
        It cannot be read, lacks the column, or names no class where there are several.
    """
    try:
        frame = read_polygon_layer(path, path)
    except UsageError as error:
        raise TrainingError(one_line(error)) from error
    if column is not None and column not in frame.columns:
        msg = f"{path} has no column {column!r}; its columns are {', '.join(map(str, frame.columns))}"
        raise TrainingError(msg)
    column = column or next((name for name in CLASS_COLUMNS if name in frame.columns), None)
    codes, others = _classes_of(path, frame, classes, column, class_values)
    geometries = np.asarray(frame.geometry.values, dtype=object)
    broken = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    geometries = np.where(broken, shapely.make_valid(geometries), geometries)
    kept = (codes >= 0) & (np.nan_to_num(shapely.area(geometries)) > 0)
    notes = []
    if others:
        left_out = counted(int((codes < 0).sum()), "polygon")
        notes.append(f"{left_out} of {path} of other classes left out: {listed(others)}")
    if broken.any():
        notes.append(f"{counted(int(broken.sum()), 'self-crossing polygon')} of {path} repaired")
    absent = [name for code, name in enumerate(classes) if code not in codes[kept]]
    notes += [f"{path} has no polygon of the class {name}" for name in absent]
    return Polygons(geometries[kept], codes[kept], frame.crs, tuple(notes), others)


def _classes_of(
    path: str, frame: Any, classes: Sequence[str], column: str | None, class_values: Mapping[str, str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the index of the class of each polygon, -1 for others, and the names of these."""
    if column is None:
        if len(classes) != 1:
            msg = f"{path} has no column of classes; name it, or one class by --objects, not {', '.join(classes)}"
            raise TrainingError(msg)
        return np.zeros(len(frame), dtype=np.int64), ()
    index = {name: code for code, name in enumerate(classes)}
    named = [str(bare_class(value)) for value in frame[column]]
    codes = np.array([index.get(class_values.get(name, name), -1) for name in named], dtype=np.int64)
    return codes, tuple(sorted({name for name, code in zip(named, codes, strict=True) if code < 0}))


def listed(names: Sequence[str]) -> str:
    """Return names for a message, at most `NAMES_SHOWN` of them."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {counted(more, 'other')}" if more > 0 else "")


class PolygonLayers:
    """Polygons on a grid; a pixel is of the polygons over its centre."""

    def __init__(self, name: str, path: str, polygons: Polygons, spec: RasterSpec) -> None:
        self.notes = polygons.notes
        self._classes = polygons.classes
        series = geopandas.GeoSeries(polygons.geometries, crs=polygons.crs)
        placed = in_crs_of(series, spec, path, f"grid of {name}", path)
        self._geometries = in_pixels(np.asarray(placed.values, dtype=object), spec)
        self._tree = shapely.STRtree(self._geometries)
        self._layers = _layers(self._geometries, self._tree)
        self._shape = spec.height, spec.width
        inside = shapely.box(0, 0, spec.width, spec.height)
        if beyond := len(self._geometries) - len(self._tree.query(inside, predicate="intersects")):
            self.notes += (f"{counted(beyond, 'polygon')} of {path} outside the grid left out",)

    def read(self, window: Window) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_] | None]:
        """Return one layer, or several if polygons overlap here."""
        box = shapely.box(window.column, window.row, window.column_stop, window.row_stop)
        hits = np.sort(self._tree.query(box))
        return [
            self._drawn(hits[self._layers[hits] == n], window) for n in np.unique(self._layers[hits])
        ], None

    def _drawn(self, which: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
        shapes = zip(self._geometries[which], (which + 1).tolist(), strict=True)
        return np.asarray(
            rasterize(
                shapes,
                out_shape=window.shape,
                transform=Affine.translation(window.column, window.row),
                dtype="int32",
            ),
            dtype=np.int64,
        )

    def classes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class of each object."""
        return self._classes[numbers - 1]

    def pixels_of_others(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return those too small or too thin to be over the centre of a pixel, and a pixel of each."""
        others = np.setdiff1d(np.arange(1, len(self._geometries) + 1), drawn)
        points = shapely.point_on_surface(self._geometries[others - 1])
        pixels = np.floor(np.stack([shapely.get_y(points), shapely.get_x(points)], axis=-1)).astype(np.int64)
        on_grid = ((pixels >= 0) & (pixels < self._shape)).all(axis=-1)
        return others[on_grid], pixels[on_grid]

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _layers(geometries: NDArray[np.object_], tree: shapely.STRtree) -> NDArray[np.int64]:
    """Return a layer for each polygon, so that none shares ground with another of its layer."""
    layers = np.zeros(len(geometries), dtype=np.int64)
    beside: dict[int, set[int]] = defaultdict(set)
    for one, other in _sharing(geometries, tree):
        beside[one].add(other)
        beside[other].add(one)
    for one in sorted(beside):
        taken = {int(layers[other]) for other in beside[one] if other < one}
        layers[one] = next(n for n in range(len(taken) + 1) if n not in taken)
    return layers


def that_overlap_each_other(geometries: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return which polygons share ground with others, in rising order."""
    pairs = list(_sharing(geometries, shapely.STRtree(geometries)))
    return np.unique(np.array(pairs, dtype=np.int64))


def _sharing(geometries: NDArray[np.object_], tree: shapely.STRtree) -> Iterator[tuple[int, int]]:
    """Yield the pairs of polygons that share ground; to touch is not to share."""
    first, second = tree.query(geometries, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    shares = ~shapely.touches(geometries[first], geometries[second])
    yield from zip(first[shares].tolist(), second[shares].tolist(), strict=True)
