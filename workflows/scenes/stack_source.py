"""The source of a run under the name by which every process finds it: a stack is named by all that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from segment_tiles.pipeline.errors import SegmentTilesError, UsageError, one_line
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.names import is_stack
from segment_tiles.pipeline.sources.stacks.description import stack_named
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.pixels import AskedMask


def with_resolved_source(config: RunConfig) -> RunConfig:
    """Return the configuration with the names of what its source is made of, for its model and for that of its mask.

    Of one raster it is returned as it is.

    Raises
    ------
    SourceError, UsageError
        If a stack file or a STAC item cannot be read, or a name of a band is none of it, or of two assets.
    ModelError
        If the names of the model's bands are needed and there is no such model.
    """
    options = StackOptions(
        config.assets, config.grid_of, config.sign, rpc_height=config.rpc_height, rpc_dem=config.rpc_dem
    )
    source = resolved(config.source, options, _bands_of(config.model))
    if config.mask is not None and config.mask_source is None and is_stack(source):
        with said_of_mask(config.mask.model):
            config = replace(config, mask_source=_of_mask(config, config.mask, options))
    if is_stack(source) and config.like is not None:
        source = _laid_on(source, config.like, config)
        like = stack_named(source).like
        if like is not None and config.mask_source is not None and is_stack(config.mask_source):
            # the map of the mask lies on the grid of the map that it limits
            mask = replace(stack_named(config.mask_source), like=like)
            config = replace(config, mask_source=mask.text())
    return replace(config, source=source)


def _laid_on(source: str, like: str, config: RunConfig) -> str:
    """Return the name of a stack, on the grid of a raster if its members have several CRS."""
    # bring rasterio, which most requests that are refused do without
    from segment_tiles.pipeline.outputs.warped_map import like_grid  # noqa: PLC0415
    from segment_tiles.pipeline.sources.open import open_source  # noqa: PLC0415
    from segment_tiles.pipeline.sources.stacks.opening import laid_on  # noqa: PLC0415

    opened = partial(open_source, nodata_rule=config.nodata_rule, alpha=config.alpha)
    return laid_on(source, lambda: like_grid(like), opened)


def _bands_of(model: str) -> Callable[[], tuple[str, ...]]:
    """Return what names the bands of a model."""
    return lambda: load_manifest(find_model(model)).bands


def _of_mask(config: RunConfig, mask: AskedMask, options: StackOptions) -> str:
    """Return the stack that the model of a mask reads: bands by its names if they are there, else those of the map."""
    try:
        return resolved(config.source, replace(options, assets=(), grid_of=None), _bands_of(mask.model))
    except UsageError:
        if not options.assets:
            raise
        return resolved(config.source, options)


@contextmanager
def said_of_mask(model: str) -> Iterator[None]:
    """Say of whatever cannot be accepted inside that it is about the model of the mask."""
    try:
        yield
    except SegmentTilesError as error:
        raise type(error)(f"--mask-model {model}: {one_line(error)}") from error
