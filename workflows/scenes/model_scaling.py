"""The scaling that a user asks for in place of the model's own."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.text import parse_scaling


def with_asked_scaling(manifest: ModelManifest, text: str | None) -> ModelManifest:
    """Return a manifest with the scaling of ``--scaling``, if it is given.

    Raises
    ------
    UsageError
        If it is for another number of bands, or its file cannot be understood.
    """
    if text is None:
        return manifest
    asked, bands = parse_scaling(text), len(manifest.bands)
    try:
        asked.of_bands(bands)
    except ValueError as error:
        msg = f"--scaling is {text!r}, which {error} of model {manifest.name} ({', '.join(manifest.bands)})"
        raise UsageError(msg) from error
    is_own = asked.declared(bands) == manifest.scaling.declared(bands)
    return manifest if is_own else replace(manifest, run_scaling=asked)


def scaling_notes(manifests: list[ModelManifest]) -> tuple[str, ...]:
    """Say which models get other values than they were trained on."""
    return tuple(
        f"--scaling: values are scaled by {manifest.run_scaling}, not by {manifest.scaling}, with which model "
        f"{manifest.name} was trained: its map may be without meaning"
        for manifest in manifests
        if manifest.run_scaling is not None
    )
