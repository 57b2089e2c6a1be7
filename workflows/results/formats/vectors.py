"""The polygons of a class map: the vector formats of `polygonize`, each a Format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segment_tiles.pipeline.idle_cores import finishing_threads
from segment_tiles.pipeline.outputs.stores.store import array_of, folder_of
from segment_tiles.pipeline.vectors.files.formats import VectorFormat, vector_format_named
from segment_tiles.pipeline.vectors.objects.rules import check_objects
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.selection import check_request
from segment_tiles.workflows.output_folder.directory import OWN_FOLDER
from segment_tiles.workflows.output_folder.made import keep_files, keep_objects
from segment_tiles.workflows.polygons.polygonize import check_measured, polygonize
from segment_tiles.workflows.polygons.request import options_in_pixels
from segment_tiles.workflows.process_memory import release_after
from segment_tiles.workflows.results.formats.format import Format, Subject, Work

VECTOR_TILE: Final = 1024
"""Side of the tiles that are polygonised after a run: half of the default of ``polygonize``, because the network's
libraries are in memory too; the Features are the same for any."""
TILES_OF_A_PROCESS: Final = 16
"""Tiles for which one more process is worth its start, of about a second."""


def polygon_format(vector: VectorFormat, file: str | None = None, title: str = "Polygons") -> Format:
    """Return the Format of a vector format: all that are asked for are written from one pass over the class map."""
    file = file or f"polygons{vector.extensions[0]}"

    def check(subject: Subject) -> None:
        spec = _spec(subject.of_files)
        vector.check_crs(subject.source, spec.georef.crs)
        options = _options(subject, spec)
        check_request(spec, options)
        check_objects(spec, options)
        vector.check_objects(has_objects=bool(options.objects))
        if options.measure is not None:
            check_measured(spec, options)

    return Format(
        vector.name,
        file,
        ("raster", "slide"),
        make_polygons,
        title=f"{title} ({file})",
        media_type=vector.media_type,
        check=check,
        vector=vector,
    )


def options_of_tracing(subject: Subject, formats: Sequence[Format]) -> PolygonizeOptions | None:
    """Return how polygons of finished rows can be traced before the map is whole; None: there are none, or they cannot.

    They cannot if pixels are changed before, by what lies around them, or the files are on another grid.
    """
    vectors = any(wanted.vector is not None and subject.kind in wanted.kinds for wanted in formats)
    if not vectors or subject.warped is not None:
        return None
    spec = _spec(subject)
    if -(-spec.height // VECTOR_TILE) * -(-spec.width // VECTOR_TILE) < TILES_OF_A_PROCESS:
        return None
    options = _options(subject, spec)
    return None if options.changes_pixels or options.objects else options


def _options(subject: Subject, spec: ClassRasterSpec) -> PolygonizeOptions:
    return options_in_pixels(subject.options.polygons, spec, VECTOR_TILE, source=subject.source)


def _spec(subject: Subject) -> ClassRasterSpec:
    """Return what polygons are made of: the class map as it is, or will be."""
    table, (rows, columns) = subject.table, subject.shape
    return ClassRasterSpec(
        rows,
        columns,
        table.dtype,
        table.nodata,
        subject.georef,
        table.classes,
        # a mask has that of its own class, from scores, which do not come onto another grid
        has_confidence=not subject.has_masks or (subject.has_scores and subject.warped is None),
        has_all_classes=True,
        masks=table.codes if subject.has_masks else (),
        objects=table.objects,
    )


def make_polygons(work: Work, formats: Sequence[Format]) -> Sequence[str]:
    """Polygonise a class map once and write all vector formats that are asked for."""
    release_after(work.report)
    work.stage("polygons")
    files = [work.folder / wanted.file for wanted in formats]
    is_split = work.subject.options.polygons.split_by_class
    made = polygonize(
        folder_of(work.group),
        files,
        _options(work.subject, _spec(work.subject)),
        formats=[wanted.vector for wanted in formats],
        workers=processes_for(work),
        threads=finishing_threads(),
        split_by_class=is_split,
        traced_ahead=work.traced_ahead,
    )
    keep_objects(work.folder / OWN_FOLDER, made.objects())
    if is_split:
        of_each = len(made.files) // len(formats)  # the files of a format follow one another
        names = [path.name for path in made.files]
        keep_files(
            work.folder / OWN_FOLDER,
            work.folder,
            {
                wanted.name: names[number * of_each : (number + 1) * of_each]
                for number, wanted in enumerate(formats)
            },
        )
    return made.notes


def processes_for(work: Work) -> int:
    """Return as many processes as the run was given, but none that starts longer than it would work."""
    rows, columns = array_of(work.group, "classes").shape[-2:]
    tiles = -(-rows // VECTOR_TILE) * -(-columns // VECTOR_TILE)
    return max(1, min(work.workers, tiles // TILES_OF_A_PROCESS))


PARQUET: Final = polygon_format(vector_format_named("parquet"))
GEOPACKAGE: Final = polygon_format(vector_format_named("gpkg"))
FLATGEOBUF: Final = polygon_format(vector_format_named("fgb"))
QUPATH: Final = polygon_format(vector_format_named("qupath"))
GEOJSON: Final = polygon_format(vector_format_named("geojson"))
GEOJSON_LINES: Final = polygon_format(vector_format_named("geojsonl"))
PMTILES: Final = polygon_format(vector_format_named("pmtiles"))
SHAPEFILE: Final = polygon_format(vector_format_named("shp"))
KML: Final = polygon_format(vector_format_named("kml"))
OBJECTS: Final = polygon_format(
    vector_format_named("objects"), "objects.parquet", "Table of objects, without outlines"
)
LABELS: Final = polygon_format(
    vector_format_named("labels"), "labels.zarr", "Numbers of objects as OME-Zarr labels"
)
LABELS_COG: Final = polygon_format(vector_format_named("labels-cog"), "labels.tif", "Numbers of objects")
