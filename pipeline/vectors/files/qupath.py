"""GeoJSON for QuPath: pixels of the full-resolution slide, classifications, UUIDs."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.georef import GeoRef, transformed
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.vectors.arrow_columns import numbers_of
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import SHEATH_COLUMNS

NO_LENGTHS = (
    "lengths of objects are left out: QuPath counts pixels, and these are on the ground or not square"
)
NAMESPACE = uuid.UUID("6d1f0f6e-5a0e-5c44-9a0b-3f1a6a2b7c11")
"""Namespace of the feature ids as version 5 UUIDs: the same feature keeps its UUID."""

_LENGTHS: Final = {
    "perimeter": "Perimeter",
    "equivalent_diameter": "Equivalent diameter",
    "major_axis": "Major axis",
    "minor_axis": "Minor axis",
    "axon_diameter": "Axon diameter",
    "fibre_diameter": "Fibre diameter",
    "myelin_thickness": "Myelin thickness",
}
_NUMBERS: Final = {
    "orientation": "Orientation °",
    "eccentricity": "Eccentricity",
    "solidity": "Solidity",
    "neighbours": "Touching neighbours",
    "g_ratio": "g-ratio",
}
"""Column -> name of a measurement; those of sheaths are of some requests alone."""


def write_qupath(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a FeatureCollection in the terms of QuPath 0.4 and later: objects are detections, areas annotations.

    Coordinates are pixels of the full-resolution image, x to the right, y down; QuPath knows no CRS.
    Lengths of objects are left out if they are on the ground, or pixels are not square: they are no pixels then.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for rows in layer.part_batches():
            for text in _features(layer, rows):
                file.write(separator + text)
                separator = ",\n"
        file.write("\n]}\n")
    if layer.objects is None or _unit_of_lengths(layer) is not None:
        return ()
    return (NO_LENGTHS,)


def _features(layer: Layer, rows: pa.RecordBatch) -> Iterator[str]:
    """Yield one Feature as text for each row."""
    geometries = shapely.from_wkb(rows["geometry"].to_numpy(zero_copy_only=False))
    geometries = shapely.transform(geometries, lambda world: _to_pixels(layer, world))
    texts = shapely.to_geojson(shapely.orient_polygons(geometries, exterior_cw=False))
    columns = [rows[name].to_pylist() for name in ("key", "code", "pixels", "area", "confidence")]
    objects = _object_measurements(layer, rows)
    for geometry, key, code, pixels, area, confidence, measured in zip(texts, *columns, objects, strict=True):
        identity = uuid.uuid5(NAMESPACE, f"{key:016x}")
        found = _properties(layer, code, pixels, area, confidence)
        if measured is not None:
            found |= {"objectType": "detection", "measurements": found["measurements"] | measured}
        properties = json_text(found, indent=None)
        yield f'{{"type":"Feature","id":"{identity}","geometry":{geometry},"properties":{properties}}}'


def _object_measurements(layer: Layer, rows: pa.RecordBatch) -> list[dict[str, float] | None]:
    """Return the measurements of each object, None for areas that are none.

    Lengths are in micrometres if the slide knows its pixels, else in pixels of the full resolution, if they are pixels
    at all. A measurement that does not exist is left out: QuPath takes a missing one for NaN.
    """
    if layer.objects is None:
        return [None] * rows.num_rows
    lengths = _unit_of_lengths(layer)
    shown = {name: (text, 1.0) for name, text in _NUMBERS.items()}
    shown |= {name: (name, 1.0) for name in layer.values if name not in SHEATH_COLUMNS}
    if lengths is not None:
        unit, scale = lengths
        shown = {name: (f"{text} {unit}", scale) for name, text in _LENGTHS.items()} | shown
    names = {name: entry for name, entry in shown.items() if name in rows.schema.names}
    numbers = layer.objects.of(numbers_of(rows["identity"])).tolist()
    columns = [(name, factor, rows[column].to_pylist()) for column, (name, factor) in names.items()]
    return [
        {"Object": number}
        | {name: values[n] * factor for name, factor, values in columns if math.isfinite(values[n])}
        if number
        else None
        for n, number in enumerate(numbers)
    ]


def _unit_of_lengths(layer: Layer) -> tuple[str, float] | None:
    """Return the unit of lengths and how many of it a unit of the raster has; None: lengths are no pixels."""
    if layer.georef.unit == "micrometer":
        return "µm", 1.0
    a, b, _, d, e, _ = layer.georef.transform
    is_square = math.isclose(math.hypot(a, d), math.hypot(b, e)) and abs(a * b + d * e) <= 1e-9 * (
        a * a + d * d
    )
    if layer.georef.crs_wkt is not None or not is_square:
        return None
    return "px", math.sqrt(_full_resolution_pixels(layer) / layer.georef.pixel_area)


def _properties(
    layer: Layer, code: int, pixels: int, area: float, confidence: float | None
) -> dict[str, Any]:
    entry = layer.map_class(code)
    measurements: dict[str, float] = {"Area px^2": round(pixels * _full_resolution_pixels(layer), 4)}
    if layer.georef.unit == "micrometer":
        measurements["Area µm^2"] = area
    if confidence is not None:
        measurements["Mean confidence"] = confidence
    return {
        "objectType": "annotation",
        "classification": {"name": entry.name, "color": list(entry.color)},
        "isLocked": False,
        "measurements": measurements,
    }


def _full_resolution_pixels(layer: Layer) -> float:
    """Return how many pixels of the full resolution a pixel of the raster covers."""
    if layer.georef.full_resolution is None or layer.georef == GeoRef.of_pixels():
        return layer.level_scale**2
    return layer.georef.pixel_area / abs(layer.georef.user_to_world.determinant)


def _to_pixels(layer: Layer, world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coordinates in pixels of the full resolution; corners of pixels are whole numbers."""
    if layer.georef == GeoRef.of_pixels():
        return np.round(transformed(~layer.georef.affine, world) * layer.level_scale, 4)
    if layer.georef.full_resolution is not None:
        return np.round(transformed(~layer.georef.user_to_world, world), 4)
    a, b, c, d, e, f = layer.georef.transform
    is_picture = layer.georef.crs_wkt is None and layer.georef.unit in {"pixel", "map unit"}
    if is_picture and b == d == 0 and (c == f == 0 or abs(a) == abs(e) == 1):
        # a coarser level, or a part, of a picture: its transform says so
        down = np.array([1.0, np.sign(e)])
        return np.asarray(np.round(world * down * layer.level_scale, 4))
    return np.round(transformed(~layer.georef.affine, world) * layer.level_scale, 4)
