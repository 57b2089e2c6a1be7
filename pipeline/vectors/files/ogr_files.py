"""GeoPackage, FlatGeobuf, GeoJSON and PMTiles through GDAL, fed with Arrow batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataSourceError
from pyproj import CRS

from segment_tiles.pipeline.errors import WriteFailedError, one_line
from segment_tiles.pipeline.library_messages import recorded_warnings
from segment_tiles.pipeline.vectors.files.geopackage_style import add_qgis_style
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.geometry.antimeridian import WGS84, on_the_globe
from segment_tiles.pipeline.vectors.geometry.rings import Polygons
from segment_tiles.pipeline.wording import counted

WEB_MERCATOR_METRES = 156543.03392804097
"""Metres of a pixel of a 256-pixel tile at zoom 0 on the equator."""
METRES_PER_RADIAN = 6_378_137.0
"""Of longitude on the equator: the pixels of tiles are those of Web Mercator."""
NEEDLESS = (
    "'crs' was not provided",  # the report says so of the raster
    "No SRS set on layer",
    "The filename extension should be",  # the user has named the format
)
"""Beginnings of warnings that tell the user nothing new."""
Change = Callable[[pa.RecordBatch], pa.RecordBatch]
_NONE: Final[Mapping[str, str]] = {}


def write_geopackage(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a GeoPackage with the style table that QGIS reads colours from; classes that may overlap have layers."""
    layers, options = layer.by_class or (layer,), {"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": "geom"}
    notes = [
        note
        for number, one in enumerate(layers)
        for note in write_layer(path, one, "GPKG", options, appends=number > 0)
    ]
    add_qgis_style(path, layers)
    return tuple(dict.fromkeys(notes))


def write_flatgeobuf(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a FlatGeobuf file with its packed Hilbert R-tree."""
    return write_layer(path, layer, "FlatGeobuf", {"SPATIAL_INDEX": "YES"}, {})


def write_geojson(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write GeoJSON after RFC 7946: longitude and latitude, shells counter-clockwise, strict JSON."""
    crs = layer.georef.crs
    # of projected coordinates GDAL cuts those too that go around a pole; of degrees beyond 180 it cuts not all
    leaves = crs if crs is not None and crs.is_geographic else None
    return write_layer(path, layer, "GeoJSON", {"ID_FIELD": "id", **_rfc7946(layer)}, {}, leaves)


def write_geojson_lines(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write newline-delimited GeoJSON: one feature a line."""
    options = {"RS": "NO", "ID_FIELD": "id", **_precision(layer)}
    return write_layer(path, layer, "GeoJSONSeq", options, {}, layer.georef.crs)


def write_pmtiles(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write PMTiles, vector tiles in Web Mercator up to the zoom that shows single pixels."""
    zoom = _finest_zoom(layer)
    zooms = {"MINZOOM": str(max(0, zoom - 8)), "MAXZOOM": str(zoom)}
    return write_layer(path, layer, "PMTiles", {}, zooms, layer.georef.crs)


def _rfc7946(layer: Layer) -> dict[str, str]:
    """Return the options of GeoJSON; without a CRS coordinates stay pixels, which RFC 7946 does not know."""
    if layer.georef.crs is None:
        return {"RFC7946": "NO", "WRITE_NAME": "YES", **_precision(layer)}
    return {"RFC7946": "YES"}


def _precision(layer: Layer) -> dict[str, str]:
    return {"COORDINATE_PRECISION": "7" if layer.georef.crs is not None else "3"}


def _finest_zoom(layer: Layer) -> int:
    crs = layer.georef.crs
    metres = math.sqrt(layer.georef.pixel_area) * layer.measure.factor
    if crs is not None and crs.is_geographic:
        metres *= crs.axis_info[0].unit_conversion_factor * METRES_PER_RADIAN
    return min(16, max(0, round(math.log2(WEB_MERCATOR_METRES / metres))))


def write_layer(
    path: Path,
    layer: Layer,
    driver: str,
    layer_options: Mapping[str, str],
    options: Mapping[str, str] = _NONE,
    crs_to_leave: CRS | None = None,
    *,
    name: str | None = None,
    change: Change | None = None,
    appends: bool = False,
) -> tuple[str, ...]:
    """Write a layer through GDAL, in WGS 84 if a CRS is to be left; return what GDAL warned of.

    Parameters
    ----------
    path, layer
        File, and what it holds.
    driver, layer_options, options
        Of GDAL.
    crs_to_leave
        Of the layer, if the file is in longitude and latitude.
    name
        Of the layer in the file; None: its own.
    change
        Makes the columns of the file of those of the layer.
    appends
        Whether the file is there, and gets a further layer.

    Raises
    ------
    WriteFailedError
        If the disk is full or cannot be written, or the format ends.
    """
    around_pole: list[int] = []
    batches = _batches(layer) if crs_to_leave is None else _globe_batches(layer, crs_to_leave, around_pole)
    schema = layer.schema
    if change is not None:
        schema, batches = change(_no_rows(schema)).schema, map(change, batches)
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    kind = "MultiPolygon" if layer.has_multiple else "Polygon"
    try:
        with recorded_warnings() as said:
            pyogrio.write_arrow(
                reader, path, layer=name or layer.name, driver=driver, geometry_name="geometry",
                geometry_type=kind if crs_to_leave is None else "Unknown",
                crs=layer.georef.crs_wkt if crs_to_leave is None else WGS84,
                layer_options=dict(layer_options), dataset_options=dict(options), append=appends,
            )  # fmt: skip
    except (DataSourceError, RuntimeError) as error:
        msg = (
            f"{path.name} cannot be written as {driver}: {one_line(error)}; check free space and permissions"
        )
        raise WriteFailedError(msg) from error
    return _notes(said, sum(around_pole))


def _notes(said: Iterable[Any], around_pole: int) -> tuple[str, ...]:
    """Return what the user should know of a file that was written: each warning once, and features around a pole."""
    messages = dict.fromkeys(" ".join(str(warning.message).split()) for warning in said)
    notes = [message for message in messages if not message.startswith(NEEDLESS)]
    if around_pole:
        notes.append(
            f"{counted(around_pole, 'feature goes', 'features go')} around a pole, which longitude and latitude "
            "cannot show; use .parquet, .gpkg or .fgb for them"
        )
    return tuple(notes)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, entry.type) for entry in schema], schema=schema)


def _batches(layer: Layer) -> Iterator[pa.RecordBatch]:
    """Yield the columns of the layer; in a layer with MultiPolygons every feature is one."""
    for rows in layer.part_batches():
        batch = layer.columns(rows)
        yield _all_multiple(batch) if layer.has_multiple else batch


def _globe_batches(layer: Layer, crs: CRS, around_pole: list[int]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of the layer in WGS 84; append how many features of a batch go around a pole."""
    for rows in layer.part_batches():
        batch = layer.columns(rows)
        globe = on_the_globe(_geometries(batch), crs)
        around_pole.append(globe.around_pole)
        yield _with_geometries(batch, globe.geometries)


def _geometries(batch: pa.RecordBatch) -> Polygons:
    geometries: Polygons = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
    return geometries


def _with_geometries(batch: pa.RecordBatch, geometries: Any) -> pa.RecordBatch:
    position = batch.schema.get_field_index("geometry")
    wkb: Any = shapely.to_wkb(geometries)
    return batch.set_column(position, "geometry", pa.array(wkb, pa.binary()))


def _all_multiple(batch: pa.RecordBatch) -> pa.RecordBatch:
    parts, owner = shapely.get_parts(_geometries(batch), return_index=True)
    return _with_geometries(batch, shapely.multipolygons(parts, indices=owner))
