"""The polygons of a class map: the vector formats of `polygonize`, each a Format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segment_tiles.pipeline.vectors.files.formats import VectorFormat, vector_format_named
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.process_memory import release_after
from segment_tiles.workflows.results.formats.format import Format, Subject, Work
from segment_tiles.workflows.results.formats.table import STORE, format_of

VECTOR_TILE: Final = 1024
"""Side of the tiles that are polygonised after a run: half of the default of ``polygonize``, because the network's
libraries are in memory too; the Features are the same for any."""


def polygon_format(vector: VectorFormat) -> Format:
    """Return the Format of a vector format: all that are asked for are written from one pass over the class map."""
    file = f"polygons{vector.extensions[0]}"

    def check(subject: Subject) -> None:
        vector.check_crs(subject.source, subject.georef.crs)

    return Format(
        vector.name,
        file,
        ("raster", "slide"),
        make_polygons,
        title=f"Polygons ({file})",
        media_type=vector.media_type,
        check=check,
        vector=vector,
    )


def make_polygons(work: Work, formats: Sequence[Format]) -> Sequence[str]:
    """Polygonise a class map once and write all vector formats that are asked for."""
    release_after(work.report["memory"]["planned"])
    work.stage("polygons")
    store = work.folder / format_of(STORE).file
    files = [work.folder / wanted.file for wanted in formats]
    made = polygonize(
        store,
        files,
        PolygonizeOptions(vector_tile=VECTOR_TILE),
        formats=[wanted.vector for wanted in formats],
    )
    return made.notes


PARQUET: Final = polygon_format(vector_format_named("parquet"))
GEOPACKAGE: Final = polygon_format(vector_format_named("gpkg"))
FLATGEOBUF: Final = polygon_format(vector_format_named("fgb"))
QUPATH: Final = polygon_format(vector_format_named("qupath"))
GEOJSON: Final = polygon_format(vector_format_named("geojson"))
GEOJSON_LINES: Final = polygon_format(vector_format_named("geojsonl"))
PMTILES: Final = polygon_format(vector_format_named("pmtiles"))
