"""The options of polygons, declared once: those of every command that makes some, and what only `polygonize` has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.grid.objects import DISTANCE, USUAL_DEPTH, USUAL_REACH, ObjectRule
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.vectors.options import DEFAULT_VECTOR_TILE
from segment_tiles.workflows.options.declare import argument, option, options_of
from segment_tiles.workflows.options.keywords import values_of

EDGES: Final = ("keep", "drop")
"""What becomes of polygons that the edge of the raster may cut."""
OF_MODEL: Final = ("model",)
NO_OBJECTS: Final = ("none",)
SHEATH: Final = "sheath="
"""How the class of a sheath is told from that of a border."""
OF_SOURCE: Final = "source"
"""Value of ``--measure``: the raster that a run maps."""
ALONE: Final = (OF_MODEL, NO_OBJECTS)
"""Values of ``--objects`` that are no rules of classes."""


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas, without empty ones.

    >>> parse_names("water, trees,")
    ('water', 'trees')
    """
    return tuple(name for name in split_names(text) if name)


def parse_object_names(text: str) -> tuple[str, ...]:
    """Return the entries of a list of rules of objects, each checked.

    >>> parse_object_names("nucleus:nucleus border:6, crown")
    ('nucleus:nucleus border:6', 'crown')
    """
    entries = parse_names(text)
    if entries not in ALONE:
        for entry in entries:
            rule_of_text(entry)
    return entries


def rule_of_text(text: str) -> ObjectRule:
    """Return the rule of one entry: ``CLASS``, ``CLASS:BORDER:REACH`` or ``CLASS:sheath=SHEATH:REACH``.

    Raises
    ------
    UsageError
        If it is none of them.

    >>> rule_of_text("axon:sheath=myelin:30").to_json()
    {'sheath': 'myelin', 'reach': 30}
    """
    parts = text.rsplit(":", 2)
    if len(parts) == 1 and (text,) not in ALONE:
        return ObjectRule(text)
    reach = parts[-1].strip().removesuffix("px")
    if len(parts) != 3 or not all(parts[:2]) or not reach.isdecimal() or parts[1] == SHEATH:
        msg = (
            f"--objects has {text!r}; give model, none, or for each class CLASS or CLASS:BORDER:REACH (pixels) or "
            f"CLASS:{SHEATH}SHEATH:REACH"
        )
        raise UsageError(msg)
    name, beside = parts[0].strip(), parts[1].strip()
    if beside.startswith(SHEATH):
        return ObjectRule(name, reach=int(reach), sheath=beside.removeprefix(SHEATH))
    return ObjectRule(name, beside, int(reach))


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
    objects: tuple[str, ...] = option(
        "How touching things become objects, each a polygon of its own: model (as it says), none, or for each class "
        "CLASS:BORDER:REACH (pixels of BORDER go to the nearest piece of CLASS within REACH pixels), "
        "CLASS:sheath=SHEATH:REACH (they are measured: myelin around axons) or CLASS.",
        default=("model",),
        typed="model",
        metavar="RULES",
        parse=parse_object_names,
    )
    split_by: str | None = option(
        "Separate objects without a border class, of the classes of --objects (or --classes), by distance from what is "
        "around them.",
        default=None,
        metavar="distance",
        choices=(DISTANCE,),
    )
    split_reach: int = option(
        "Of --split-by: pixels from its middle that an object reaches.",
        default=USUAL_REACH,
        metavar="PX",
        minimum=1,
    )
    split_depth: float = option(
        "Of --split-by: pixels that the distance must fall between two objects.",
        default=USUAL_DEPTH,
        metavar="PX",
        above=0,
    )
    maximum_area: str | None = option(
        "Larger polygons and objects are left out.",
        name="max-area",
        default=None,
        metavar="AREA",
        or_number=True,
    )
    minimum_confidence: float = option(
        "Polygons and objects with a lower mean confidence, 0 to 1, are left out.",
        name="min-confidence",
        default=0.0,
        metavar="X",
        minimum=0,
    )
    edge: str = option(
        "Polygons and objects at the edge of the raster: keep (marked in the column touches_edge) or drop.",
        default="keep",
        choices=EDGES,
    )
    measure: str | None = option(
        "Measure the bands of a raster on the grid of the map under each object: mean, standard deviation, quantiles; "
        "of a run, source is the mapped raster itself.",
        default=None,
        metavar="SOURCE",
        is_file=True,
        repr=False,
    )  # not in repr: it may hold secrets
    split_by_class: bool = option(
        "A file of polygons for each class: polygons.CLASS.gpkg in place of polygons.gpkg.", default=False
    )


def given_settings(settings: PolygonSettings) -> dict[str, Any]:
    """Return name -> value of the options that are not as they are by default, as plain values without secrets.

    >>> given_settings(PolygonSettings(sieve="9px", classes=("water",)))
    {'classes': ['water'], 'sieve': '9px'}
    """
    usual = PolygonSettings()
    values = {entry.name: getattr(settings, entry.field) for entry in options_of(PolygonSettings)}
    before = {entry.name: getattr(usual, entry.field) for entry in options_of(PolygonSettings)}
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != before[name]
    }
    return given if settings.measure is None else {**given, "measure": without_secrets(settings.measure)}


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
        "May be repeated: .parquet .gpkg .fgb .geojson .geojsonl .qupath.geojson .pmtiles .shp .kml; of objects "
        ".objects.parquet .labels.zarr .labels.tif too",
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
        "Side of the tiles worked on; changes memory, and features with --simplify alone.",
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
