"""From the options of `segment-tiles polygonize` to its report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Literal, TypeVar

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.vectors.amounts import pixels_of_area, pixels_of_length
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName, raster_name
from segment_tiles.pipeline.vectors.rasters.opening import open_class_raster
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.polygons import (
    NO_OBJECTS,
    OF_MODEL,
    OF_SOURCE,
    PolygonizeConfig,
    PolygonSettings,
    rule_of_text,
)
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
    with closing(open_class_raster(raster_name(config.raster), band=config.band, reclass=targets)) as opened:
        spec = opened.spec
    return replace(options_in_pixels(config, spec, config.vector_tile, config.band), reclass=targets)


def options_in_pixels(
    settings: PolygonSettings,
    spec: ClassRasterSpec,
    vector_tile: int,
    band: int | None = None,
    source: str | None = None,
) -> PolygonizeOptions:
    """Return what is asked for of polygons, with areas and lengths in pixels of a class raster.

    ``source`` is the raster that the class raster is, or will be, a map of, if that is known.

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
        objects=asked_objects(settings, spec),
        maximum_area=None if settings.maximum_area is None else area("maximum_area"),
        minimum_confidence=settings.minimum_confidence,
        drops_edge=settings.edge == "drop",
        measure=_measured(settings.measure, source),
        vector_tile=vector_tile,
    )


def _measured(asked: str | None, source: str | None) -> RasterName | None:
    """Return the raster whose values under objects are asked for."""
    if asked is None:
        return None
    if asked != OF_SOURCE:
        return raster_name(asked)
    if source is None:
        raise UsageError(
            f"--measure is {OF_SOURCE}, which a run and an export know; give the name of a raster"
        )
    return raster_name(source)


def asked_objects(settings: PolygonSettings, spec: ClassRasterSpec) -> tuple[ObjectRule, ...]:
    """Return the rules of objects that are asked for, of a class map as it is, or will be.

    Raises
    ------
    UsageError
        If options contradict each other.
    """
    is_split = settings.split_by is not None
    _check_split(settings, spec)
    if settings.objects == NO_OBJECTS:
        if is_split:
            raise UsageError(
                f"--objects none and --split-by {settings.split_by} exclude each other; give one"
            )
        return ()
    if settings.objects == OF_MODEL:
        if not is_split:
            return spec.objects
        rules = tuple(ObjectRule(name) for name in settings.classes)
    else:
        rules = tuple(rule_of_text(text) for text in settings.objects)
    if not is_split:
        return rules
    if not any(rule.beside is None for rule in rules):
        msg = f"--split-by is {settings.split_by}, but no class without a border class is named; name one by --objects"
        raise UsageError(msg)
    return tuple(
        ObjectRule(rule.name, None, settings.split_reach, settings.split_by, settings.split_depth)
        if rule.beside is None
        else rule
        for rule in rules
    )


def _check_split(settings: PolygonSettings, spec: ClassRasterSpec) -> None:
    """Refuse options of splitting without it, and splitting in place of what the model says."""
    if settings.split_by is not None:
        if settings.objects == OF_MODEL and spec.objects:
            named = ", ".join(rule.name for rule in spec.objects)
            msg = (
                f"--split-by is {settings.split_by}, but the model says how {named} become objects; name the classes "
                "by --objects"
            )
            raise UsageError(msg)
        return
    usual = PolygonSettings()
    for field in ("split_reach", "split_depth"):
        if getattr(settings, field) != getattr(usual, field):
            name = chosen(PolygonSettings, field)[0].shown
            raise UsageError(f"{name} is of --split-by, which is not given; give --split-by distance")


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
