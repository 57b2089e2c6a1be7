"""Slides and OME images: at which resolution they are read."""

from __future__ import annotations

import math
from dataclasses import replace

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.pyramids.pyramid import SAME_SIZE
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.model_pixels import model_mpp
from segment_tiles.workflows.scenes.rasters.opening import Resolution, check_resolution
from segment_tiles.workflows.scenes.tissue import open_whole


def choose_resolution(config: RunConfig, manifest: ModelManifest, tolerance: float) -> Resolution:
    """Return the resolution asked for, else the model's, else full resolution.

    Parameters
    ----------
    config
        What the user asked for.
    manifest
        Of the model: says at which pixel size it was trained.
    tolerance
        Factor between the pixel sizes of model and raster above which the user is warned.

    Raises
    ------
    UsageError
        If both a level and micrometres per pixel are asked for, or metres.
    SourceError
        If the model has a pixel size and the slide neither has one nor is given one.
    """
    check_resolution(config)
    if config.metres is not None:
        msg = (
            f"--resolution is {config.metres:g}, but {shown_name(config.source)} is a slide or picture, which has no "
            "metres on the ground; give micrometres per pixel with --mpp"
        )
        raise UsageError(msg)
    source = open_whole(config, replace(config.view, mpp=None))
    try:
        if not isinstance(source, PyramidSource):
            return Resolution(config.level or 0, config.view)
        return _of_pyramid(config, manifest, source, tolerance)
    finally:
        source.close()


def _of_pyramid(
    config: RunConfig, manifest: ModelManifest, source: PyramidSource, tolerance: float
) -> Resolution:
    wanted, own = model_mpp(manifest), source.native_mpp
    notes = _override_notes(config, source)
    view = config.view
    if view.mpp is None and config.level is None and wanted is not None and config.resolution != "native":
        if own is None:
            msg = (
                f"{config.source}: does not say how large its pixels are, and model {manifest.name} was trained "
                f"at {wanted:g} micrometres per pixel; give the slide's own with --source-mpp, or a --level"
            )
            raise SourceError(msg)
        view = replace(view, mpp=wanted)
    if own is None:
        return Resolution(config.level or 0, view, notes)
    full = math.sqrt(own[0] * own[1])
    level = source.facts.level_for(view.mpp, own) if view.mpp is not None else config.level or 0
    steps = source.facts.downsample(min(level, len(source.facts.levels) - 1))
    read_at = view.mpp or full * math.sqrt(steps[0] * steps[1])
    if wanted is not None and max(read_at / wanted, wanted / read_at) > tolerance:
        notes += (
            f"the slide is read at {read_at:.3g} micrometres per pixel, but model {manifest.name} was trained at "
            f"{wanted:.3g}: objects look unlike those it knows",
        )
    if view.mpp is not None and full / view.mpp > tolerance:
        notes += (
            f"the slide has {full:.3g} micrometres per pixel and is enlarged to {view.mpp:.3g}: that shows no more",
        )
    return Resolution(level, view, notes)


def _override_notes(config: RunConfig, source: PyramidSource) -> tuple[str, ...]:
    given, said = config.view.source_mpp, source.facts.mpp
    if given is None:
        return ()
    if said is None:
        return (f"{config.source}: says no micrometres per pixel; --source-mpp {given:g} is used",)
    if max(abs(given / size - 1) for size in said) <= SAME_SIZE:
        return ()
    own = f"{said[1]:g}" if said[0] == said[1] else f"{said[1]:g} x {said[0]:g}"
    return (f"{config.source}: says {own} micrometres per pixel; --source-mpp {given:g} is used instead",)
