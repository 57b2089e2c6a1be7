"""`polygonize`: polygons of any class raster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from segment_tiles.workflows.face.keywords import PolygonizeKeywords
from segment_tiles.workflows.face.progress import Progress
from segment_tiles.workflows.options.polygons import polygonize_config_from

if TYPE_CHECKING:
    from segment_tiles.workflows.polygons.report import PolygonizeReport


def polygonize(
    raster: str | Path, *, progress: Progress | None = None, **options: Unpack[PolygonizeKeywords]
) -> PolygonizeReport:
    """Turn a class raster of any size into polygons without seams.

    Parameters
    ----------
    raster
        ``classes.zarr``, the folder of a run, or a raster of integer classes: anything that GDAL reads.
    progress
        Called with vector tiles done and in all, once from the start for each step.
    out
        One file or several: .parquet .gpkg .fgb .geojson .geojsonl .qupath.geojson .pmtiles .shp .kml.
    format
        Format of each file, if its ending does not say it.
    band
        Band of classes, from 1, in a raster of several.
    connectivity
        4: pixels of one polygon share an edge; 8: a corner is enough.
    classes, background
        Names or codes of the classes wanted, all unless told; and of one that becomes no polygon.
    majority
        Side in pixels of the square of majority smoothing, odd; 0: none.
    sieve, min_hole, min_area
        Areas: ``"25px"``, or a number of square metres (square units of a raster without CRS). Smaller components take
        the class of their largest neighbour, smaller holes that of what surrounds them, smaller polygons are left out.
    simplify
        Distance that a border may move: ``"2px"``, or metres. 0: exact pixel edges.
    right_angles
        Names or codes of the classes whose outlines become right-angled.
    objects
        How touching things become objects: ``"model"``, ``"none"``, or for each class ``"CLASS"`` or
        ``"CLASS:BORDER:REACH"``: pixels of the border class go to the nearest piece of the class within the reach, in
        pixels.
    split_by, split_reach, split_depth
        ``"distance"`` separates objects without a border class, by their distance from what is around them: how far
        an object reaches from its middle, and how much the distance falls between two, in pixels.
    max_area, min_confidence, edge
        Larger polygons, less sure ones, and with ``edge="drop"`` those at the edge of the raster are left out.
    measure
        Raster on the same grid whose bands are measured under each object.
    vector_tile, workers
        Side in pixels of what is worked on at once, and processes; neither changes the polygons.
    level_scale
        For QuPath: full-resolution pixels in a pixel of the raster.
    restart
        Forget the finished tiles of an interrupted request.

    Returns
    -------
    PolygonizeReport
        Files, and features, pixels and area of each class.

    Raises
    ------
    TypeError
        If a keyword is no option, or ``out`` is missing.
    SegmentTilesError
        If the raster is not one of integer classes, or an option or a file does not fit it.

    Examples
    --------
    >>> import segment_tiles as st
    >>> result = st.segment("scene.tif", model="canopy-rgb", out="result")
    >>> report = st.polygonize("result", out="trees.gpkg", classes="tree canopy", min_area=5, simplify="1px")
    >>> [entry.name for entry in report.classes], report.unit
    (['tree canopy'], 'm')
    """
    from segment_tiles.workflows.buckets.commands.polygonize import polygonize_as_asked  # noqa: PLC0415 - brings GDAL

    config = polygonize_config_from(raster=str(raster), **options)
    return polygonize_as_asked(config, None if progress is None else _without_step(progress))


def _without_step(progress: Progress) -> Callable[[str, int, int], None]:
    def tell(_step: str, done: int, total: int) -> None:
        progress(done, total)

    return tell
