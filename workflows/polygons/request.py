"""From the options of `segment-tiles polygonize` to its report."""

from __future__ import annotations

from contextlib import closing
from typing import Literal

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.vectors.amounts import pixels_of_area, pixels_of_length
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import raster_name
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.options.polygons import PolygonizeConfig
from segment_tiles.workflows.polygons.polygonize import Progress, polygonize
from segment_tiles.workflows.polygons.report import PolygonizeReport


def polygonize_as_asked(config: PolygonizeConfig, progress: Progress | None = None) -> PolygonizeReport:
    """Turn a class raster into polygons.

    Raises
    ------
    SegmentTilesError
        As `polygonize`, and if an area or a length is no amount of pixels of the raster.
    """
    return polygonize(
        config.raster,
        config.out,
        amounts_in_pixels(config),
        formats=config.formats or None,
        workers=config.workers,
        level_scale=config.level_scale,
        restart=config.restart,
        progress=progress,
    )


def amounts_in_pixels(config: PolygonizeConfig) -> PolygonizeOptions:
    """Return the options that decide on features, with areas and lengths in pixels of the raster.

    Raises
    ------
    UsageError
        If an option is not understood.
    VectorError
        If the raster cannot be opened.
    """
    with closing(open_class_raster(raster_name(config.raster), band=config.band)) as opened:
        spec = opened.spec
    return PolygonizeOptions(
        connectivity=_connectivity(config.connectivity),
        classes=config.classes,
        background=config.background,
        majority=config.majority,
        sieve=pixels_of_area(config.sieve, spec),
        minimum_hole=pixels_of_area(config.minimum_hole, spec),
        minimum_area=pixels_of_area(config.minimum_area, spec),
        simplify=pixels_of_length(config.simplify, spec),
        right_angles=config.right_angles,
        band=config.band,
        vector_tile=config.vector_tile,
    )


def _connectivity(number: int) -> Literal[4, 8]:
    if number == 4:
        return 4
    if number == 8:
        return 8
    raise UsageError(f"connectivity is {number}; it must be 4 or 8")
