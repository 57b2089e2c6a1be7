"""The options of polygons, declared once: those of every command that makes some, and what only `polygonize` has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.vectors.options import DEFAULT_VECTOR_TILE
from segment_tiles.workflows.options.declare import argument, option, options_of
from segment_tiles.workflows.options.keywords import values_of


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas, without empty ones.

    >>> parse_names("water, trees,")
    ('water', 'trees')
    """
    return tuple(name for name in split_names(text) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonSettings:
    """Which polygons come of a class map, as asked for; areas and lengths are ``25px`` or in units of the raster."""

    connectivity: int = option(
        "Pixels of one polygon share an edge (4), or a corner is enough (8).", default=4, metavar="4|8"
    )
    classes: tuple[str, ...] = option(
        "Names or codes of the classes that become polygons; default: all.",
        default=(),
        metavar="A,B",
        parse=parse_names,
    )
    background: str | None = option("A class that becomes no polygon.", default=None, metavar="CLASS")
    majority: int = option(
        "Majority smoothing in a square of this odd side, before polygons are traced.",
        default=0,
        metavar="PX",
        minimum=0,
    )
    sieve: str = option(
        "Before polygons are traced, smaller components take the class of their largest neighbour. AREA is 25px, or a "
        "number of square metres (of square units if there is no CRS).",
        default="0px",
        metavar="AREA",
        or_number=True,
    )
    minimum_hole: str = option(
        "Smaller holes in polygons take the class around them.",
        name="min-hole",
        default="0px",
        metavar="AREA",
        or_number=True,
    )
    minimum_area: str = option(
        "Smaller polygons are left out.", name="min-area", default="0px", metavar="AREA", or_number=True
    )
    simplify: str = option(
        "Simplify shared borders of polygons; none moves farther than this: 2px, or metres. Default: exact pixel "
        "edges.",
        default="0px",
        metavar="LENGTH",
        or_number=True,
    )
    right_angles: tuple[str, ...] = option(
        "Classes whose polygons become right-angled (buildings).",
        default=(),
        metavar="A,B",
        parse=parse_names,
    )
    split_by_class: bool = option(
        "A file of polygons for each class: polygons.CLASS.gpkg in place of polygons.gpkg.", default=False
    )


def given_settings(settings: PolygonSettings) -> dict[str, Any]:
    """Return name -> value of the options that are not as they are by default, as plain values.

    >>> given_settings(PolygonSettings(sieve="9px", classes=("water",)))
    {'classes': ['water'], 'sieve': '9px'}
    """
    usual = PolygonSettings()
    values = {entry.name: getattr(settings, entry.field) for entry in options_of(PolygonSettings)}
    before = {entry.name: getattr(usual, entry.field) for entry in options_of(PolygonSettings)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != before[name]
    }


def settings_in(config: PolygonSettings) -> PolygonSettings:
    """Return the settings of polygons alone of a configuration that has further options."""
    return PolygonSettings(
        **{entry.field: getattr(config, entry.field) for entry in options_of(PolygonSettings)}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings(PolygonSettings):
    """What leaves of a class map, as asked for."""

    reclass: Path | None = option(
        "Merge, rename, recolour and renumber classes, as a YAML, JSON or CSV file says.",
        default=None,
        metavar="FILE",
        is_file=True,
    )


@dataclass(frozen=True, slots=True)
class PolygonizeConfig(MapSettings):
    """Polygons of one class raster, as asked for."""

    raster: str = argument(
        "classes.zarr, the folder of a run, or a raster of integer classes: a file, a URL, /vsizip/..., "
        "NETCDF:FILE:VARIABLE.",
        metavar="RASTER",
        repr=False,
    )  # not in repr: it may hold secrets
    out: tuple[Path, ...] = option(
        "May be repeated: .parquet .gpkg .fgb .geojson .geojsonl .qupath.geojson .pmtiles .shp .kml",
        metavar="FILE",
    )
    formats: tuple[str, ...] = option(
        "Format of each --out whose ending does not say it: parquet, gpkg, qupath, ...",
        name="format",
        default=(),
        metavar="NAME",
    )
    band: int | None = option(
        "Band of classes, from 1, in a raster of several bands.", default=None, metavar="N"
    )
    vector_tile: int = option(
        "Side of the tiles worked on; changes memory, never the features.",
        default=DEFAULT_VECTOR_TILE,
        metavar="PX",
    )
    workers: int = option("Processes.", default=1, metavar="N")
    level_scale: float = option(
        "QuPath: full-resolution pixels in a pixel of RASTER.", default=1.0, metavar="F"
    )
    restart: bool = option("Forget the finished tiles of an interrupted request.", default=False)


def polygonize_config_from(**options: Any) -> PolygonizeConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Parameters
    ----------
    **options
        Values, or texts as on the command line: ``classes=["water"]`` or ``classes="water"``. None: not given.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``raster`` or ``out`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.
    """
    return PolygonizeConfig(**values_of(options_of(PolygonizeConfig), options))
