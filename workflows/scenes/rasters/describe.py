"""What a raster or slide is, for people and programs."""

from __future__ import annotations

from typing import Any

from segment_tiles.pipeline.grid.georef import IDENTITY, GeoRef
from segment_tiles.pipeline.names import shown_name, without_secrets
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import notes_of
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.sources.stacks.stack import StackSource
from segment_tiles.pipeline.sources.view import View


def describe_raster(uri: str, level: int, view: View) -> dict[str, Any]:
    """Return what a raster is, as plain JSON values.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    source = open_source(uri, level=level, view=view)
    try:
        spec = source.spec
        details = source.details if isinstance(source, PyramidSource | RasterFile | StackSource) else {}
        notes = notes_of(source)
    finally:
        source.close()
    crs = spec.georef.crs
    return {
        "source": shown_name(uri),
        "height": spec.height,
        "width": spec.width,
        "bands": spec.bands,
        "band_names": list(spec.band_names),
        "dtype": spec.dtype,
        "nodata": spec.nodata_summary,
        "chunk": list(spec.chunk),
        "level": source.level if isinstance(source, PyramidSource) else level,
        **details,
        "crs": None if crs is None else (crs.to_string() if crs.to_epsg() else crs.name),
        "crs_wkt": spec.georef.crs_wkt,
        # of a raster without one GDAL says the identity, and so does this page
        "transform": list(IDENTITY if spec.georef == GeoRef.of_pixels() else spec.georef.transform),
        "bounds": list(spec.georef.bounds(spec.window)),
        "uncompressed_bytes": spec.nbytes,
        "notes": [without_secrets(note) for note in notes],
    }
