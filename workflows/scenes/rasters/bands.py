"""Which bands of a source a model reads: as asked, else by their names, else all if their number fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from segment_tiles.pipeline.accepted import AlphaUse, NodataRule
from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import notes_of, reductions_of
from segment_tiles.pipeline.sources.view import View
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig

Opened = Callable[[RunConfig], tuple[RasterSpec, tuple[str, ...]]]
"""Gives what is known of the source with the bands of a configuration, and what the user should know of it."""
Facts = Callable[..., tuple[RasterSpec, tuple[str, ...]]]
"""`facts_of`, or the same with a memory."""


def choose_bands(
    config: RunConfig, manifest: ModelManifest, opened: Opened
) -> tuple[tuple[int, ...], RasterSpec, tuple[str, ...]]:
    """Return the 1-based bands in the order of the model, their spec, and what the user should know.

    Parameters
    ----------
    config, manifest
        What is asked for, and of what model.
    opened
        Opens the source.

    Raises
    ------
    SourceError, UsageError
        If the source cannot be opened, a band or an option cannot be one of it, or two bands have the name of one of
        the model's.
    ModelError
        If the model takes another number of bands.
    """
    spec, notes = opened(config)
    by_name = None if config.bands is not None else _by_name(config, manifest.bands, spec, opened)
    if by_name is not None and by_name != _numbers(spec):
        order = ",".join(str(band) for band in by_name)
        note = f"bands {order} are read, as their names {', '.join(manifest.bands)} say"
        # that of a mask's model is not asked for by an option
        note = note if config.lies_on is not None else f"{note}; --bands overrides"
        spec, notes = opened(replace(config, bands=by_name))
        return by_name, spec, (note, *notes)
    if spec.bands != len(manifest.bands):
        read = counted(spec.bands, "band is", "bands are")
        msg = (
            f"{shown_name(config.source)}: {read} read, but model {manifest.name} takes {len(manifest.bands)} "
            f"({', '.join(manifest.bands)}); {_advice(config, spec, opened)}"
        )
        raise ModelError(msg)
    return _numbers(spec), spec, (*_order_notes(config, manifest.bands, spec), *notes)


def facts_of(
    uri: str,
    bands: tuple[int, ...] | None,
    nodata: float | None,
    rule: NodataRule,
    alpha: AlphaUse,
    level: int,
    view: View,
) -> tuple[RasterSpec, tuple[str, ...]]:
    """Open a source, and return what is known of it and what the user should know of it."""
    source = open_source(
        uri, bands=bands, nodata=nodata, nodata_rule=rule, alpha=alpha, level=level, view=view
    )
    try:
        return replace(source.spec, reductions=reductions_of(source)), notes_of(source)
    finally:
        source.close()


def opened_at(level: int, view: View, facts: Facts = facts_of) -> Opened:
    """Return what opens the source of a configuration at a Level, or resampled, whatever it asks for.

    Parameters
    ----------
    level, view
        How it is read.
    facts
        `facts_of`, or what keeps its answers: a source is then opened once for each way to read it.
    """
    return lambda asked: facts(
        asked.source, asked.bands, asked.nodata, asked.nodata_rule, asked.alpha, level, view
    )


def _numbers(spec: RasterSpec) -> tuple[int, ...]:
    return spec.band_numbers or tuple(range(1, spec.bands + 1))


def named_bands(config: RunConfig, wanted: Sequence[str], opened: Opened) -> tuple[int, ...] | None:
    """Return the bands of a source that have these names; None if one is missing.

    Raises
    ------
    SourceError
        If it cannot be opened.
    UsageError
        If two bands have one of the names.
    """
    spec, _ = opened(config)
    return _by_name(config, wanted, spec, opened)


def _by_name(
    config: RunConfig, wanted: Sequence[str], spec: RasterSpec, opened: Opened
) -> tuple[int, ...] | None:
    """Return the bands that have the names of the model's, among them one tagged alpha; None if one is missing."""
    found = _named(config, spec, wanted)
    if found is None and config.alpha == "auto" and spec.band_names:
        everything, _ = opened(replace(config, alpha="band"))
        found = _named(config, everything, wanted)
    return found


def _named(config: RunConfig, spec: RasterSpec, of_model: Sequence[str]) -> tuple[int, ...] | None:
    names = [name.lower() for name in spec.band_names]
    wanted = [name.lower() for name in of_model]
    if not all(name in names for name in wanted):
        return None
    if names == wanted:
        return _numbers(spec)
    for name in wanted:
        same = [str(number) for number, own in zip(_numbers(spec), names, strict=True) if own == name]
        if len(same) > 1:
            how = "choose with --bands" if config.lies_on is None else "name the bands in a stack file"
            msg = f"{shown_name(config.source)}: bands {' and '.join(same)} are both called {name!r}; {how}"
            raise UsageError(msg)
    return tuple(_numbers(spec)[names.index(name)] for name in wanted)


def _order_notes(config: RunConfig, of_model: Sequence[str], spec: RasterSpec) -> tuple[str, ...]:
    """Return what is to be said of bands that are read in their order, though some names say another one."""
    names = [name.lower() for name in spec.band_names]
    others = [
        name
        for position, name in enumerate(of_model)
        if name.lower() in names and names[position : position + 1] != [name.lower()]
    ]
    if config.bands is not None or not others:
        return ()
    own = ", ".join(name or "(none)" for name in spec.band_names)
    return (
        f"bands are read in their order, {own}, as {', '.join(of_model)} of the model: not all names are among them; "
        "--bands says another order",
    )


def _advice(config: RunConfig, spec: RasterSpec, opened: Opened) -> str:
    """Return how a model gets as many bands as it takes."""
    if config.lies_on is None:
        return f"choose them with --bands{_beside(config, spec, opened)}"
    everything = replace(config, bands=None)
    return (
        "--bands is that of the model of the map: name the bands in a stack file, and this model finds its own by "
        f"their names{_beside(everything, opened(everything)[0], opened)}"
    )


def _beside(config: RunConfig, spec: RasterSpec, opened: Opened) -> str:
    """Name the bands that were left out for their tag."""
    if config.bands is not None or config.alpha != "auto":
        return ""
    everything, _ = opened(replace(config, alpha="band"))
    left = sorted(set(_numbers(everything)) - set(_numbers(spec)))
    return f" (band {left[0]} is tagged alpha; --alpha band reads it as data)" if left else ""
