"""The output layer: part rows become the columns that users see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from segment_tiles.pipeline.errors import VectorError
from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.palette import class_color
from segment_tiles.pipeline.vectors.arrow_columns import number_column, numbers_of, text_column
from segment_tiles.pipeline.vectors.files.object_columns import (
    object_columns,
    object_fields,
)
from segment_tiles.pipeline.vectors.files.parts import MergedParts
from segment_tiles.pipeline.vectors.geometry.measure import Measure
from segment_tiles.pipeline.vectors.geometry.objects.numbers import ObjectNumbers, ObjectPixels

BATCH_ROWS = 16_384
"""Features handed to a writer at once."""


@dataclass(frozen=True, slots=True)
class Layer:
    """All features of a raster, in order, as batches; what every writer takes."""

    name: str
    """Name of the layer in formats that have layers."""
    parts: MergedParts
    """The features."""
    classes: tuple[MapClass, ...]
    """Every class that has a feature, with its name and colour."""
    georef: GeoRef
    """The CRS and transform of the raster."""
    measure: Measure
    """Units of the columns area and perimeter."""
    has_multiple: bool
    """True where some features have several parts (8-connectivity)."""
    level_scale: float = 1.0
    """Full-resolution pixels in one pixel of the raster: QuPath wants those of the full resolution."""
    by_class: tuple[Layer, ...] = ()
    """The same, a layer for each class, if classes may overlap: for formats that hold several layers."""
    objects: ObjectNumbers | None = None
    """Numbers of the objects, in a request for some."""
    values: tuple[str, ...] = ()
    """Columns of sheaths of objects, and of values under objects."""
    object_pixels: ObjectPixels | None = None
    """Which object each pixel belongs to, in such a request."""

    @property
    def schema(self) -> pa.Schema:
        """Columns, in order; the geometry is WKB in world coordinates."""
        return pa.schema([
            ("id", pa.string()),
            ("class_code", pa.int64()),
            ("class_name", pa.string()),
            ("color", pa.string()),
            ("pixels", pa.int64()),
            (self.measure.area_column, pa.float64()),
            *((name, pa.float64()) for name in self._planar),
            (self.measure.perimeter_column, pa.float64()),
            ("confidence", pa.float64()),
            ("touches_edge", pa.bool_()),
            ("touches_nodata", pa.bool_()),
            *([] if self.objects is None else object_fields(self.measure, self.values)),
            ("geometry", pa.binary()),
        ])  # fmt: skip

    @property
    def _planar(self) -> tuple[str, ...]:
        """Column of the area in the plane of the CRS, if it is another one."""
        return () if self.measure.planar_column is None else (self.measure.planar_column,)

    def part_batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the parts, in order."""
        return self.parts.batches(rows)

    def columns(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows of a part with the columns of the layer."""
        codes, position = np.unique(numbers_of(rows["code"]), return_inverse=True)
        known = [self.map_class(int(code)) for code in codes]
        names = text_column([c.name for c in known])
        colors = text_column([hex_color(c.color) for c in known])
        index = number_column(position, pa.int64())
        ids = text_column([f"{key:016x}" for key in numbers_of(rows["key"]).tolist()])
        arrays = [
            ids, rows["code"], names.take(index), colors.take(index), rows["pixels"], rows["area"],
            *(rows["planar_area"] for _ in self._planar), rows["perimeter"], rows["confidence"],
            rows["touches_edge"], rows["touches_nodata"],
            *([] if self.objects is None else object_columns(rows, self.objects, self.values)), _geometry_column(rows),
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def map_class(self, code: int) -> MapClass:
        """Return name and colour of a code, made up if the raster has none."""
        for known in self.classes:
            if known.code == code:
                return known
        return MapClass(code, f"class {code}", class_color(code))


def _geometry_column(rows: pa.RecordBatch) -> pa.Array:
    """Return the geometries in the type that GDAL and Parquet take.

    Raises
    ------
    VectorError
        When one of them has more bytes than either can hold.
    """
    try:
        return rows["geometry"].cast(pa.binary())
    except pa.ArrowInvalid as error:
        msg = (
            f"a polygon of class code {rows['code'][0]} takes more than 2 GiB, which no format holds; "
            "leave its class out with --background, or simplify with --simplify 2px"
        )
        raise VectorError(msg) from error


def hex_color(color: tuple[int, int, int]) -> str:
    """Return a colour as #rrggbb.

    >>> hex_color((255, 0, 16))
    '#ff0010'
    """
    red, green, blue = color
    return f"#{red:02x}{green:02x}{blue:02x}"
