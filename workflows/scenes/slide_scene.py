"""Slides and OME images: at which resolution they are read, and which part of them is tissue."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.sources.areas.tissue import TissueMask, tissue_of
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.pyramids.pyramid import SAME_SIZE
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig

THUMBNAIL_MPP = 16.0
"""Micrometres per pixel of the thumbnail in which tissue is looked for."""
THUMBNAIL_SIDE = (512, 2048)
"""Its longer side is at least and at most this, in pixels."""
MICROMETERS = {"micrometer": 1.0, "millimeter": 1000.0}
"""Of the units in which a model may state its pixel size; models of the Earth's surface use metres."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a source is read."""

    level: int
    """Level, where it is not resampled."""
    view: View
    """Micrometres per pixel, plane and time point."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


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
        Where both a level and micrometres per pixel are asked for.
    SourceError
        Where the model has a pixel size and the slide neither has one nor is given one.
    """
    if config.level is not None and config.view.mpp is not None:
        msg = f"--level {config.level} and --mpp {config.view.mpp:g} exclude each other; give one of them"
        raise UsageError(msg)
    if kind_of(config.source) == "raster" and config.view.mpp is None and config.view.source_mpp is None:
        return Resolution(config.level or 0, config.view, _silent_notes(config, manifest))
    source = _opened(config, replace(config.view, mpp=None))
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
    if view.mpp is None and config.level is None and wanted is not None:
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


def model_mpp(manifest: ModelManifest) -> float | None:
    """Return the micrometres per pixel that a model was trained at; None where it has no such size."""
    factor = MICROMETERS.get(manifest.pixel_unit)
    return None if manifest.pixel_size is None or factor is None else manifest.pixel_size * factor


def _silent_notes(config: RunConfig, manifest: ModelManifest) -> tuple[str, ...]:
    """Return the note for a picture without micrometres that a model for slides is run on."""
    if manifest.pixel_size is None or manifest.pixel_unit != "micrometer":
        return ()
    return (
        f"{config.source}: says no micrometres per pixel, and model {manifest.name} was trained at "
        f"{manifest.pixel_size:g}; give the picture's own with --source-mpp",
    )


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


def find_tissue(config: RunConfig) -> tuple[TissueMask | Path | None, tuple[str, ...]]:
    """Return what limits a run to tissue, and what the user should know of it.

    Raises
    ------
    UsageError
        Where a tissue mask is asked for of something that is no stained slide, or its file is missing.
    """
    word = config.tissue
    if word == "off":
        return None, ()
    if word not in {"auto", "otsu"}:
        if not split_layer(word)[0].exists():
            msg = f"--tissue is {word!r}; it must be auto, otsu, off, or a file of polygons that exists"
            raise UsageError(msg)
        return Path(word), ()
    if word == "auto" and kind_of(config.source) not in {"slide", "ome-tiff", "tiff-series"}:
        return None, ()
    source = _opened(config, replace(config.view, mpp=None))
    try:
        is_slide = isinstance(source, PyramidSource) and source.facts.is_slide
        is_coloured = source.spec.dtype == "uint8" and source.spec.bands == 3
        view = _thumbnail_view(config, source)
    finally:
        source.close()
    if not is_slide and word == "auto":
        return None, ()
    if not is_coloured:
        msg = (
            f"--tissue otsu: {config.source} is no picture of red, green and blue bytes; give --tissue off, "
            "or a file of polygons"
        )
        raise UsageError(msg)
    mask = _tissue(config, view)
    return mask, (_tissue_note(mask),)


def slide_facts(spec: RasterSpec, level: int, tissue: TissueMask | Path | None) -> dict[str, Any]:
    """Return what a report tells of the resolution of a source and of the tissue in it; {} of other rasters."""
    facts: dict[str, Any] = {}
    full, own = spec.georef.full_resolution, spec.georef.transform
    if spec.georef.unit == "micrometer" and full is not None:
        facts["micrometers_per_pixel"] = {
            "full_resolution": [full[0], abs(full[4])],
            "read": [own[0], abs(own[4])],
        }
    if spec.levels:
        facts["levels"] = [list(shape) for shape in spec.levels]
        facts["level"] = level
    if isinstance(tissue, TissueMask):
        facts["tissue"] = {"method": "otsu", "saturation_above": tissue.threshold, "share": tissue.share}
    elif tissue is not None:
        facts["tissue"] = {"method": "polygons", "file": str(tissue)}
    return facts


def _tissue(config: RunConfig, view: View) -> TissueMask:
    source = _opened(config, view)
    try:
        whole = source.spec.window
        values = source.read(whole)
        return tissue_of(values.astype(np.uint8, copy=False), source.valid(whole, values))
    finally:
        source.close()


def _tissue_note(mask: TissueMask) -> str:
    if mask.threshold is None:
        return "no bare glass was found, so all of the slide counts as tissue"
    if mask.share == 0:
        return "no tissue was found, so nothing is computed; --tissue off computes the whole slide"
    return (
        f"{mask.share:.1%} of the slide is tissue (saturation above {mask.threshold:.3f}); the rest is left out: "
        "--tissue off computes all of it"
    )


def _thumbnail_view(config: RunConfig, source: Source) -> View:
    """Return the view of the thumbnail; where the pixel size is unknown, one by which only its side counts."""
    spec = source.spec
    mpp = source.native_mpp if isinstance(source, PyramidSource) else None
    own = 1.0 if mpp is None else max(mpp)
    longest = max(spec.height, spec.width)
    side = longest if mpp is None else longest * own / THUMBNAIL_MPP
    side = min(max(side, THUMBNAIL_SIDE[0]), THUMBNAIL_SIDE[1], longest)
    source_mpp = own if mpp is None else config.view.source_mpp
    return replace(config.view, mpp=longest * own / side, source_mpp=source_mpp)


def _opened(config: RunConfig, view: View) -> Source:
    return open_source(
        config.source,
        bands=None,
        nodata=config.nodata,
        nodata_rule=config.nodata_rule,
        alpha=config.alpha,
        view=view,
    )
