"""GeoPackage, FlatGeobuf, GeoJSON and PMTiles through GDAL, fed with Arrow batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataSourceError

from segment_tiles.pipeline.errors import VectorError, WriteFailedError, one_line
from segment_tiles.pipeline.vectors.geopackage_style import add_qgis_style
from segment_tiles.pipeline.vectors.layer import Layer

WEB_MERCATOR_METRES = 156543.03392804097
"""Metres of a pixel of a 256-pixel tile at zoom 0 on the equator."""
NEEDLESS = (
    "'crs' was not provided",  # the report says so of the raster
    "No SRS set on layer",
    "The filename extension should be",  # the user has named the format
)
"""Beginnings of warnings that tell the user nothing new."""


def write_geopackage(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a GeoPackage with the style table that QGIS reads colours from."""
    notes = _write(path, layer, "GPKG", {"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": "geom"}, {})
    add_qgis_style(path, layer)
    return notes


def write_flatgeobuf(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a FlatGeobuf file with its packed Hilbert R-tree."""
    return _write(path, layer, "FlatGeobuf", {"SPATIAL_INDEX": "YES"}, {})


def write_geojson(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write GeoJSON after RFC 7946: longitude and latitude, shells counter-clockwise, strict JSON."""
    return _write(path, layer, "GeoJSON", {"ID_FIELD": "id", **_rfc7946(layer)}, {})


def write_geojson_lines(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write newline-delimited GeoJSON: one feature a line."""
    return _write(path, layer, "GeoJSONSeq", {"RS": "NO", "ID_FIELD": "id", **_precision(layer)}, {})


def write_pmtiles(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write PMTiles, vector tiles in Web Mercator up to the zoom that shows single pixels."""
    if layer.georef.crs is None:
        msg = f"{path.name}: PMTiles need a CRS and this raster has none; write .geojson or .parquet instead"
        raise VectorError(msg)
    zoom = _finest_zoom(layer)
    return _write(path, layer, "PMTiles", {}, {"MINZOOM": str(max(0, zoom - 8)), "MAXZOOM": str(zoom)})


def _rfc7946(layer: Layer) -> dict[str, str]:
    """Return the options of GeoJSON; without a CRS coordinates stay pixels, which RFC 7946 does not know."""
    if layer.georef.crs is None:
        return {"RFC7946": "NO", "WRITE_NAME": "YES", **_precision(layer)}
    return {"RFC7946": "YES"}


def _precision(layer: Layer) -> dict[str, str]:
    return {"COORDINATE_PRECISION": "7" if layer.georef.crs is not None else "3"}


def _finest_zoom(layer: Layer) -> int:
    metres = math.sqrt(layer.georef.pixel_area) * layer.measure.factor
    if layer.measure.ellipsoid is not None:
        metres *= layer.measure.degrees * 111_320.0
    return min(16, max(0, round(math.log2(WEB_MERCATOR_METRES / metres))))


def _write(
    path: Path, layer: Layer, driver: str, layer_options: Mapping[str, str], options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write a layer; return what GDAL warned of."""
    reader = pa.RecordBatchReader.from_batches(layer.schema, _batches(layer))
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pyogrio.write_arrow(
                reader, path, layer=layer.name, driver=driver, geometry_name="geometry",
                geometry_type="MultiPolygon" if layer.has_multiple else "Polygon",
                crs=layer.georef.crs_wkt, layer_options=dict(layer_options), dataset_options=dict(options),
            )  # fmt: skip
    except (DataSourceError, RuntimeError) as error:
        msg = (
            f"{path.name} cannot be written as {driver}: {one_line(error)}; check free space and permissions"
        )
        raise WriteFailedError(msg) from error
    messages = dict.fromkeys(" ".join(str(warning.message).split()) for warning in said)
    return tuple(message for message in messages if not message.startswith(NEEDLESS))


def _batches(layer: Layer) -> Iterator[pa.RecordBatch]:
    """Yield the columns of the layer; in a layer with MultiPolygons every feature is one."""
    for rows in layer.part_batches():
        batch = layer.columns(rows)
        yield _all_multiple(batch) if layer.has_multiple else batch


def _all_multiple(batch: pa.RecordBatch) -> pa.RecordBatch:
    geometries = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
    parts, owner = shapely.get_parts(geometries, return_index=True)
    wkb: Any = shapely.to_wkb(shapely.multipolygons(parts, indices=owner))
    position = batch.schema.get_field_index("geometry")
    return batch.set_column(position, "geometry", pa.array(wkb, pa.binary()))
