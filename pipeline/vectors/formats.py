"""Vector formats by name and by extension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.vectors.geoparquet import write_geoparquet
from segment_tiles.pipeline.vectors.layer import Layer
from segment_tiles.pipeline.vectors.ogr_files import (
    write_flatgeobuf,
    write_geojson,
    write_geojson_lines,
    write_geopackage,
    write_pmtiles,
)
from segment_tiles.pipeline.vectors.qupath import write_qupath


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """One kind of vector file."""

    name: str
    """Name on the command line."""
    extensions: tuple[str, ...]
    """Endings of file names that mean this format."""
    write: Callable[[Path, Layer], None]
    """Writes a whole layer to a path."""
    fixed_crs: str | None = None
    """The only CRS that the format holds, or None where it holds any."""


VECTOR_FORMATS = (
    VectorFormat("parquet", (".parquet", ".geoparquet"), write_geoparquet),
    VectorFormat("gpkg", (".gpkg",), write_geopackage),
    VectorFormat("fgb", (".fgb",), write_flatgeobuf),
    VectorFormat("qupath", (".qupath.geojson", ".qupath.json"), write_qupath, "pixels"),
    VectorFormat("geojson", (".geojson", ".json"), write_geojson, "WGS 84 longitude, latitude"),
    VectorFormat("geojsonl", (".geojsonl", ".geojsons", ".ndjson"), write_geojson_lines,
                 "WGS 84 longitude, latitude"),
    VectorFormat("pmtiles", (".pmtiles",), write_pmtiles, "Web Mercator"),
)  # fmt: skip


def vector_format(path: Path, name: str | None = None) -> VectorFormat:
    """Return the format with this name, or the one that the ending of the path means.

    Raises
    ------
    UsageError
        When there is no such format.
    """
    for known in VECTOR_FORMATS:
        if known.name == name or (name is None and path.name.lower().endswith(known.extensions)):
            return known
    names = ", ".join(f"{f.name} ({f.extensions[0]})" for f in VECTOR_FORMATS)
    msg = f"{name or path.name!r} is no vector format known here; choose one of: {names}"
    raise UsageError(msg)
