"""From the options of `segment-tiles polygonize` to its report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Literal, TypeVar

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.vectors.amounts import pixels_of_area, pixels_of_length
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, raster_name
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.polygons import PolygonizeConfig, PolygonSettings
from segment_tiles.workflows.options.reclass_file import read_targets
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.polygons.report import PolygonizeReport
from segment_tiles.workflows.polygons.traced import Progress

Number = TypeVar("Number", int, float)


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
        split_by_class=config.split_by_class,
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
    targets = () if config.reclass is None else read_targets(config.reclass)
    with closing(open_class_raster(raster_name(config.raster), band=config.band)) as opened:
        spec = opened.spec
    return replace(options_in_pixels(config, spec, config.vector_tile, config.band), reclass=targets)


def options_in_pixels(
    settings: PolygonSettings, spec: ClassRasterSpec, vector_tile: int, band: int | None = None
) -> PolygonizeOptions:
    """Return what is asked for of polygons, with areas and lengths in pixels of a class raster.

    Raises
    ------
    UsageError
        Naming the option that is not understood.
    """

    def area(field: str) -> int:
        return _amount(field, getattr(settings, field), lambda text: pixels_of_area(text, spec))

    return PolygonizeOptions(
        connectivity=_connectivity(settings.connectivity),
        classes=settings.classes,
        background=settings.background,
        majority=settings.majority,
        sieve=area("sieve"),
        minimum_hole=area("minimum_hole"),
        minimum_area=area("minimum_area"),
        simplify=_amount("simplify", settings.simplify, lambda text: pixels_of_length(text, spec)),
        right_angles=settings.right_angles,
        band=band,
        vector_tile=vector_tile,
    )


def _amount(field: str, text: str, in_pixels: Callable[[str], Number]) -> Number:
    try:
        return in_pixels(text)
    except UsageError as error:
        msg = f"{chosen(PolygonSettings, field)[0].shown}: {one_line(error)}"
        raise UsageError(msg) from error


def _connectivity(number: int) -> Literal[4, 8]:
    if number == 4:
        return 4
    if number == 8:
        return 8
    raise UsageError(f"connectivity is {number}; it must be 4 or 8")
