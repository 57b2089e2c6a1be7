"""Tiles of scenes that a user names, on which a model is calibrated and judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.workflows.plans.compute.sample_tiles import Positions, sample_tiles

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.precision import Sample
    from segment_tiles.workflows.scenes.scene import Scene


def tiles_of(scenes: Sequence[Scene], positions: Positions) -> Sample | None:
    """Return tiles with data of scenes, as many of each as of the others; None if there are none.

    Raises
    ------
    ReadFailedError
        If a scene cannot be read.
    ModelError
        If their pixels have types that are not to be had together.
    """
    import torch  # noqa: PLC0415 - slow, and the first that needs it

    from segment_tiles.pipeline.models.precision import Sample  # noqa: PLC0415

    each = positions.for_one_of(len(scenes))
    found = [sample for sample in (_tiles(scene, each) for scene in scenes) if sample is not None]
    if not found:
        return None
    try:
        values = torch.cat([sample.values for sample in found])
    except RuntimeError as error:
        types = ", ".join(sorted({scene.spec.dtype for scene in scenes}))
        msg = f"--calibrate: the scenes hold pixels of {types}, which do not go together; name scenes of one type"
        raise ModelError(msg) from error
    if all(sample.valid is None for sample in found):
        return Sample(values)
    valid = [
        torch.ones(sample.values.shape, dtype=torch.bool)
        if sample.valid is None
        else sample.valid.expand(sample.values.shape)
        for sample in found
    ]
    return Sample(values, torch.cat(valid))


def _tiles(scene: Scene, positions: Positions) -> Sample | None:
    with closing(scene.result.opener.open()) as planes:
        (source,) = planes.sources((scene.result.planes // 2,))
        return sample_tiles(scene, source, positions)
