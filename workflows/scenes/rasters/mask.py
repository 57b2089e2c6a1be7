"""The run of the model of a mask over a raster or slide: its map lies on the grid of the map that it limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.names import is_stack
from segment_tiles.pipeline.sources.stacks.description import stack_named
from segment_tiles.pipeline.sources.stacks.stack import StackSource
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.pixels import AskedMask
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.rasters.bands import named_bands, opened_at
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener
from segment_tiles.workflows.scenes.scene import Scene

GRID_OF_MAP: Final = "grid of the map"
"""Name of a member of the mask's stack that is there for its grid alone."""
SHARED: Final = (
    "source", "batch", "device", "precision", "backend", "bands", "roi", "aoi", "nodata", "nodata_rule", "alpha",
    "tissue", "source_mpp", "z", "t", "sign", "memory", "workers", "scheduler", "cluster", "trust", "restart",
)  # fmt: skip
"""Options of a run that hold for its mask too: what is read, limited to what, and on what it is computed."""


def raster_mask(config: RunConfig, scene: Scene, asked: AskedMask) -> RunConfig:
    """Return the run of the model of a mask: that model as it is used alone, on the pixels of the map.

    Parameters
    ----------
    config, scene
        Of the run that it limits.
    asked
        The mask.

    Raises
    ------
    SourceError, ModelError
        If source or model cannot be opened.
    """
    manifest = load_manifest(find_model(asked.model))
    opener = cast("RasterOpener", (scene.result.result_grid or scene.result).opener)
    own = RunConfig(
        **{name: getattr(config, name) for name in SHARED if name != "source"},
        source=config.mask_source or config.source,
        model=asked.model,
        out=OutputDirectory(config.out).mask,
        formats=("zarr",),
        preview=False,
        item=False,
        lies_on=(opener.level, opener.view),
        weights_beside=scene.weights_bytes,
        head=next((head.name for head in manifest.heads if {*asked.classes} <= {*head.classes.names}), None),
    )
    bands = manifest.bands
    if is_stack(own.source) and stack_named(own.source).members == stack_named(config.source).members:
        own = replace(own, source=config.source)
    elif is_stack(own.source):
        # assets that the mask's model names, in its order: the last member is there for its grid
        return replace(own, source=_on_grid_of(own.source, opener), bands=tuple(range(1, len(bands) + 1)))
    if own.bands is not None and _reads_its_own(replace(own, bands=None), bands, len(own.bands)):
        return replace(own, bands=None)
    return own


def _reads_its_own(own: RunConfig, wanted: Sequence[str], given: int) -> bool:
    """Return whether a mask does without so many bands that are given for the map: by names, or it takes all."""
    opened = opened_at(0, own.view)
    if named_bands(own, wanted, opened) is not None:
        return True
    return given != len(wanted) == opened(own)[0].bands


def _on_grid_of(uri: str, opener: RasterOpener) -> str:
    """Return a stack on the grid of another: that of a raster, or of a member, which is added for its grid alone."""
    lying, found = stack_named(opener.uri), stack_named(uri)
    if lying.like is not None:
        return replace(found, like=lying.like, grid_of="").text()
    # as its files are: whatever the pixels of the map, its grid comes from one of them
    plain = replace(opener, level=0, view=replace(opener.view, metres=None))
    source = cast("StackSource", plain.handle())
    source.close()
    base = next(member for member in lying.members if member.files[0] == source.grid_of)
    members = (*found.members, replace(base, name=GRID_OF_MAP))
    return replace(found, members=members, grid_of=GRID_OF_MAP).text()
