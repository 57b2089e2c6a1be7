"""The source of a run under the name by which every process finds it: a stack is named by all that it is made of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.names import is_stack
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.workflows.config import RunConfig


def with_resolved_source(config: RunConfig) -> RunConfig:
    """Return the configuration with the name of what its source is made of; as it is if that is one raster.

    Raises
    ------
    SourceError, UsageError
        If a stack file or a STAC item cannot be read, or a name of a band is none of it, or of two assets.
    ModelError
        If the names of the model's bands are needed and there is no such model.
    """

    def of_model() -> tuple[str, ...]:
        return load_manifest(find_model(config.model)).bands

    options = StackOptions(
        config.assets, config.grid_of, config.sign, rpc_height=config.rpc_height, rpc_dem=config.rpc_dem
    )
    source = resolved(config.source, options, of_model)
    if is_stack(source) and config.like is not None:
        source = _laid_on(source, config.like, config)
    return replace(config, source=source)


def _laid_on(source: str, like: str, config: RunConfig) -> str:
    """Return the name of a stack, on the grid of a raster if its members have several CRS."""
    # bring rasterio, which most requests that are refused do without
    from segment_tiles.pipeline.outputs.warped_map import like_grid  # noqa: PLC0415
    from segment_tiles.pipeline.sources.open import open_source  # noqa: PLC0415
    from segment_tiles.pipeline.sources.stacks.opening import laid_on  # noqa: PLC0415

    opened = partial(open_source, nodata_rule=config.nodata_rule, alpha=config.alpha)
    return laid_on(source, lambda: like_grid(like), opened)
