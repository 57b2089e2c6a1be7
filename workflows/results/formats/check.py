"""The one check of formats: what the source, its CRS and this installation allow, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from segment_tiles.pipeline.errors import MissingExtraError, UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.workflows.options.polygons import given_settings
from segment_tiles.workflows.output_folder.made import Way
from segment_tiles.workflows.results.formats.format import Format, Subject
from segment_tiles.workflows.results.formats.subjects import subject_of_scene
from segment_tiles.workflows.results.formats.table import (
    FORMATS,
    STORE,
    format_names,
    format_of,
)
from segment_tiles.workflows.scenes.registry import kind_named

if TYPE_CHECKING:
    from segment_tiles.pipeline.grid.georef import GeoRef
    from segment_tiles.workflows.config import RunConfig
    from segment_tiles.workflows.scenes.scene import Scene

LABELS: Final = "ome-zarr"
"""The format to which the option ``--labels-inside`` belongs."""


def checked_formats(config: RunConfig, scene: Scene) -> tuple[str, ...]:
    """Return the formats of a run: as asked, or what suits the source.

    Raises
    ------
    UsageError, OutputError
        If one cannot be made of this source.
    MissingExtraError
        If this installation lacks what one needs.
    """
    return formats_and_notes(config, scene)[0]


def formats_and_notes(config: RunConfig, scene: Scene) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the formats of a run, and what the user should know of them.

    Raises
    ------
    UsageError, OutputError, MissingExtraError
        As `checked_formats`.
    """
    subject = subject_of_scene(config, scene)
    names = config.formats or (STORE, *kind_named(subject.kind).usual_formats)
    check_formats(names, subject)
    if config.labels_inside and LABELS not in names:
        msg = f"--labels-inside says where {LABELS} labels go; add {LABELS} to --format"
        raise UsageError(msg)
    return names, notes_on_grid(names, subject)


def notes_on_grid(names: Sequence[str], subject: Subject) -> tuple[str, ...]:
    """Return what another grid that is asked for does not change, or not as far as the model wants."""
    if subject.warped is None:
        return ()
    staying = [
        wanted.file for wanted in map(format_of, names) if not wanted.follows_grid and wanted.name != STORE
    ]
    option = _grid_option(subject)
    rules = zip(subject.table.objects, subject.of_files.table.objects, strict=True)
    cut = [there for own, there in rules if own.reach < there.reach == there.largest_reach]
    return (
        *(
            f"{option}: {file} stays on the grid of the class map; its values are not resampled"
            for file in staying
        ),
        *(
            f"{option}: objects of {rule.name} reach {rule.reach} px, the most there is: the model may want more"
            for rule in cut
        ),
    )


def notes_on_other_grids(ways: Mapping[str, Way], names: Sequence[str], subject: Subject) -> tuple[str, ...]:
    """Return which files that were made before lie on another grid than those that are made now.

    Parameters
    ----------
    ways
        How each format was made before.
    names
        Of the formats that are made now.
    subject
        The class map.
    """
    if not any(format_of(name).follows_grid for name in names):
        return ()
    asked = subject.options.map_grid
    own = None if asked is None else asked.as_plain()
    others = [
        format_of(name).file
        for name in format_names()
        if name not in names
        and name in ways
        and format_of(name).follows_grid
        and ways[name].get("grid") != own
    ]
    return tuple(
        f"{file} lies on another grid than what is made now; give --crs or --like as it was made, or make it anew"
        for file in others
    )


def _has_grid(subject: Subject) -> bool:
    """Return whether the map has the grid that is asked for, or a part of it, as a stack that was read on it."""
    if subject.warped is None:
        return True
    own, asked = subject.georef, subject.warped.georef
    return own.crs == asked.crs and _side(own) == _side(asked)


def _side(georef: GeoRef) -> tuple[float, ...]:
    a, b, _, d, e, _ = georef.transform
    return a, b, d, e


def _grid_option(subject: Subject) -> str:
    asked = subject.options.map_grid
    return "--like" if asked is None or asked.crs is None else "--crs"


def check_formats(names: Sequence[str], subject: Subject) -> None:
    """Refuse formats that this class map cannot have, or that need what this installation lacks.

    Raises
    ------
    UsageError, OutputError, MissingExtraError
        Naming the format, and what to do.
    """
    formats = [format_of(name) for name in names]
    asked = given_settings(subject.options.polygons)
    if asked and all(wanted.vector is None for wanted in formats):
        first = next(iter(asked))
        msg = f"--{first} is of polygons, but no format has any; add one such as parquet or gpkg to --format"
        raise UsageError(msg)
    for wanted in formats:
        if subject.kind not in wanted.kinds:
            has = [name for name in format_names() if _has(name, subject.kind)]
            source = shown_name(subject.source)
            msg = (
                f"--format names {wanted.name}, but {source} is no {' or '.join(wanted.kinds)}; of a "
                f"{subject.kind} choose among {', '.join(has)}"
            )
            raise UsageError(msg)
    if not _has_grid(subject) and not any(wanted.follows_grid for wanted in formats):
        can = [name for name in format_names() if _has(name, subject.kind) and format_of(name).follows_grid]
        msg = f"{_grid_option(subject)}: no format that is asked for changes its grid; add one of {', '.join(can)}"
        raise UsageError(msg)
    for wanted in formats:
        wanted.check(subject)
        _check_module(wanted)
    _check_drivers(formats)


def _has(name: str, kind: str) -> bool:
    found = FORMATS.get(name)
    return found is not None and kind in found.kinds


def _check_module(wanted: Format) -> None:
    if wanted.module is not None and find_spec(wanted.module) is None:
        install = wanted.requirement or wanted.module
        msg = f"--format names {wanted.name}, which needs {wanted.module}; install it with: pip install '{install}'"
        raise MissingExtraError(msg)


def _check_drivers(formats: Sequence[Format]) -> None:
    """Refuse formats whose driver the GDAL of this installation lacks: not every build of GDAL has all."""
    rasters = {wanted.name: wanted.driver for wanted in formats if wanted.driver is not None}
    vectors = {
        wanted.name: wanted.vector.driver
        for wanted in formats
        if wanted.vector is not None and wanted.vector.driver is not None
    }
    if vectors:
        _refuse_missing(vectors, _vector_drivers(), "pyogrio")
    if rasters:
        _refuse_missing(rasters, _raster_drivers(), "rasterio")


def _refuse_missing(drivers: dict[str, str], available: frozenset[str], package: str) -> None:
    for name, driver in drivers.items():
        if driver not in available:
            msg = (
                f"--format names {name}, but the GDAL of this installation has no driver {driver}; use another "
                f"format, or {package} from PyPI or conda-forge, which brings it"
            )
            raise UsageError(msg)


@cache
def _vector_drivers() -> frozenset[str]:
    import pyogrio  # noqa: PLC0415 - brings pandas, which a run without such a format does not need yet

    return frozenset(pyogrio.list_drivers(write=True))


@cache
def _raster_drivers() -> frozenset[str]:
    import rasterio  # noqa: PLC0415

    with rasterio.Env() as environment:
        return frozenset(environment.drivers())
