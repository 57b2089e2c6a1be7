"""The source of a run under the name by which every process finds it: a stack is named by all that it is made of."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
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
    return replace(config, source=resolved(config.source, options, of_model))
