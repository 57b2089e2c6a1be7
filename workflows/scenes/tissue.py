"""Which part of a source is tissue, and so computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.areas.tissue import TissueMask, tissue_of
from segment_tiles.pipeline.sources.areas.vector_file import split_layer
from segment_tiles.pipeline.sources.kinds import kind_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig

THUMBNAIL_MPP = 16.0
"""Micrometres per pixel of the thumbnail in which tissue is looked for."""
THUMBNAIL_SIDE = (512, 2048)
"""Its longer side is at least and at most this, in pixels."""


def find_tissue(config: RunConfig) -> tuple[TissueMask | Path | None, tuple[str, ...]]:
    """Return what limits a run to tissue, and what the user should know of it.

    Raises
    ------
    UsageError
        If a tissue mask is asked for of something that is no stained slide, or its file is missing.
    """
    asked = config.tissue
    if asked == "off":
        return None, ()
    if asked not in {"auto", "otsu"}:
        if not split_layer(asked)[0].exists():
            msg = f"--tissue is {asked!r}; it must be auto, otsu, off, or a file of polygons that exists"
            raise UsageError(msg)
        return Path(asked), ()
    if asked == "auto" and kind_of(config.source) not in {"slide", "ome-tiff", "tiff-series"}:
        return None, ()
    source = open_whole(config, replace(config.view, mpp=None))
    try:
        is_slide = isinstance(source, PyramidSource) and source.facts.is_slide
        is_coloured = source.spec.dtype == "uint8" and source.spec.bands == 3
        view = _thumbnail_view(config, source)
    finally:
        source.close()
    if not is_slide and asked == "auto":
        return None, ()
    if not is_coloured:
        msg = (
            f"--tissue otsu: {shown_name(config.source)} is no picture of red, green and blue bytes; give --tissue "
            "off, or a file of polygons"
        )
        raise UsageError(msg)
    mask = _tissue(config, view)
    return mask, (_tissue_note(mask),)


def _tissue(config: RunConfig, view: View) -> TissueMask:
    source = open_whole(config, view)
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


def open_whole(config: RunConfig, view: View) -> Source:
    """Open a source with all its bands at full resolution, or in another view.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    return open_source(
        config.source,
        bands=None,
        nodata=config.nodata,
        nodata_rule=config.nodata_rule,
        alpha=config.alpha,
        view=view,
    )
