"""All heads of a model: a run for each, in a folder of its name."""

from __future__ import annotations

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.packages.manifest import ALL_HEADS
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.workflows.config import RunConfig


def head_names(config: RunConfig) -> tuple[str, ...]:
    """Return the heads that a run is to map one by one, which ``--head all`` asks for; else none.

    Raises
    ------
    ModelError
        There is no such model.
    UsageError
        The model has one output.
    """
    if config.head != ALL_HEADS:
        return ()
    manifest = load_manifest(find_model(config.model))
    if not manifest.heads:
        msg = f"--head is all; model {manifest.name} has one output, leave --head out"
        raise UsageError(msg)
    return tuple(head.name for head in manifest.heads)
