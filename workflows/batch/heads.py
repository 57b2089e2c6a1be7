"""All heads of a model: a run for each, in a folder of its name."""

from __future__ import annotations

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model


def head_names(model: str) -> tuple[str, ...]:
    """Return the heads of a model, all of which ``--head all`` asks for.

    Raises
    ------
    ModelError
        There is no such model.
    UsageError
        The model has one output.
    """
    manifest = load_manifest(find_model(model))
    if not manifest.heads:
        msg = f"--head is all; model {manifest.name} has one output, leave --head out"
        raise UsageError(msg)
    return tuple(head.name for head in manifest.heads)
