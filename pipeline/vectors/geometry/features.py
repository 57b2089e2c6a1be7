"""Finished features as Arrow batches: the form in which they wait for the writers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.arrow_columns import bytes_column, flag_column, number_column
from segment_tiles.pipeline.vectors.geometry.attributes import Attributes
from segment_tiles.pipeline.vectors.geometry.hilbert import ORDER, hilbert_distance
from segment_tiles.pipeline.vectors.geometry.measure import Measure, measure_of, sizes_of
from segment_tiles.pipeline.vectors.geometry.objects.attributes import ObjectAttributes
from segment_tiles.pipeline.vectors.geometry.objects.shapes import OBJECT_FIELDS, shape_columns
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import SHEATH_COLUMNS, MeasuredSheaths
from segment_tiles.pipeline.vectors.geometry.rings import Polygons
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec

PART_SCHEMA = pa.schema([
    ("key", pa.uint64()),
    ("hilbert", pa.uint32()),
    ("code", pa.int64()),
    ("pixels", pa.int64()),
    ("area", pa.float64()),
    ("planar_area", pa.float64()),
    ("perimeter", pa.float64()),
    ("confidence", pa.float64()),
    ("touches_edge", pa.bool_()),
    ("touches_nodata", pa.bool_()),
    ("xmin", pa.float64()),
    ("ymin", pa.float64()),
    ("xmax", pa.float64()),
    ("ymax", pa.float64()),
    ("is_multiple", pa.bool_()),
    ("geometry", pa.large_binary()),  # offsets of 64 bits: the geometries of a tile may take more than 2 GiB
])  # fmt: skip
OBJECT_SCHEMA = pa.schema([*PART_SCHEMA, *OBJECT_FIELDS])
"""Of a request for objects: further columns after those of all."""


@dataclass(frozen=True, slots=True)
class FeatureBuilder:
    """Turns pixel geometries and attributes into rows of the output."""

    spec: ClassRasterSpec
    """The class raster."""
    measure: Measure
    """How to measure."""
    exact: bool
    """True where areas are pixel counts times the area of a pixel."""
    values: tuple[str, ...] = ()
    """Columns of values under objects that are measured."""
    sheaths: MeasuredSheaths | None = None
    """Sheaths of objects; None: no rule has one."""

    @classmethod
    def of(
        cls,
        spec: ClassRasterSpec,
        *,
        exact: bool,
        values: tuple[str, ...] = (),
        sheaths: MeasuredSheaths | None = None,
    ) -> FeatureBuilder:
        """Return the builder for a raster."""
        return cls(spec, measure_of(spec.georef), exact, values, sheaths)

    def rows(
        self,
        attributes: Attributes,
        geometries: Polygons,
        window: Window,
        values: NDArray[np.float64] | None = None,
    ) -> pa.RecordBatch:
        """Return one row for each feature, in Hilbert order, geometries as WKB in world coordinates.

        Parameters
        ----------
        attributes : Attributes
            Whole features.
        geometries : array of Polygons and MultiPolygons
            In pixels of the window.
        window : Window
            Where in the raster.
        values : array features x columns, optional
            Of `values`.
        """
        hilbert, key = self._hilbert(geometries, window), stable_keys(attributes, self.spec)
        order = np.lexsort((key, hilbert))
        attributes, key, hilbert = attributes.take(order), key[order], hilbert[order]
        world = self._to_world(geometries[order], window)
        exact_areas = self._exact_areas(attributes) if self.exact else None
        sizes = sizes_of(self.measure, world, exact_areas)
        bounds = shapely.bounds(world).reshape(-1, 4)
        columns = [
            key, hilbert.astype(np.uint32), attributes.codes, attributes.pixels, sizes.areas,
            sizes.planar_areas, sizes.perimeters, self._confidence(attributes), attributes.touches_edge,
            attributes.touches_nodata,
            *bounds.T, _is_multiple(world), shapely.to_wkb(world),
        ]  # fmt: skip
        schema = PART_SCHEMA
        if isinstance(attributes, ObjectAttributes):
            schema, georef = self._object_schema, self.spec.georef
            extents = _extents(geometries[order])
            columns += shape_columns(attributes, world, sizes.areas, extents, georef, self.measure)
            if self.sheaths is not None:
                columns += self.sheaths.columns(attributes.identities, attributes.pixels, sizes.areas)
        if values is not None:
            columns += list(values[order].T)
        arrays = [_column(values, field.type) for values, field in zip(columns, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    @property
    def _object_schema(self) -> pa.Schema:
        """Columns of a part of a request for objects."""
        further = (*(() if self.sheaths is None else SHEATH_COLUMNS), *self.values)
        return pa.schema([*OBJECT_SCHEMA, *((name, pa.float64()) for name in further)])

    def _exact_areas(self, attributes: Attributes) -> NDArray[np.float64]:
        return np.asarray(attributes.pixels * self.spec.georef.pixel_area, dtype=np.float64)

    def _to_world(self, geometries: Polygons, window: Window) -> Polygons:
        """Return world coordinates in one canonical order of vertices; shells run counter-clockwise."""
        a, b, c, d, e, f = self.spec.georef.transform

        def affine(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
            # whole numbers first, so that a corner has the same coordinates from every tile
            x, y = pixel[:, 0] + window.column, pixel[:, 1] + window.row
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        world = shapely.transform(shapely.normalize(geometries), affine)
        # normalize leaves shells clockwise (GEOS, Polygon::normalize): a transform that mirrors turns them
        is_mirrored = a * e - b * d < 0
        return world if is_mirrored else np.asarray(shapely.reverse(world))

    def _hilbert(self, geometries: Polygons, window: Window) -> NDArray[np.int64]:
        """Return the position on the curve of the middle of each bounding box."""
        corner = np.array([window.column, window.row] * 2)
        bounds = shapely.bounds(geometries).reshape(-1, 4) + corner
        cells = (1 << ORDER) / max(self.spec.height, self.spec.width)
        middles = ((bounds[:, :2] + bounds[:, 2:]) / 2 * cells).astype(np.int64)
        return hilbert_distance(middles[:, 0], middles[:, 1])

    def _confidence(self, attributes: Attributes) -> NDArray[np.float64] | pa.Array:
        if not self.spec.has_confidence:
            return pa.nulls(len(attributes), pa.float64())
        return attributes.confidence_sums / attributes.pixels / 255.0


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if kind == pa.bool_():
        return flag_column(values)
    return bytes_column(values, kind) if kind == pa.large_binary() else number_column(values, kind)


def _extents(geometries: Polygons) -> NDArray[np.float64]:
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    return np.asarray((bounds[:, 2:] - bounds[:, :2]).max(axis=1, initial=0.0))


def _is_multiple(geometries: Polygons) -> NDArray[np.bool_]:
    return np.asarray(shapely.get_type_id(geometries) == shapely.GeometryType.MULTIPOLYGON)


def stable_keys(attributes: Attributes, spec: ClassRasterSpec) -> NDArray[np.uint64]:
    """Return a number for each feature that depends on its class and first pixel alone.

    The finaliser of splitmix64 (Steele et al. 2014) mixes class, row and column; it is one-to-one, and
    no two features share a first pixel, so no two keys are equal.
    """
    rows, columns = np.divmod(attributes.first_pixels, spec.width)
    code = attributes.codes.astype(np.uint64) & np.uint64(0xFFFF)
    position = (rows.astype(np.uint64) << np.uint64(24)) | columns.astype(np.uint64)
    value: NDArray[np.uint64] = (code << np.uint64(48)) | position
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed
