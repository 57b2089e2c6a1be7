"""What a volume is, for people and programs."""

from __future__ import annotations

import math
from typing import Any

from segment_tiles.pipeline.grid.volume import ANATOMICAL_AXES, Slicing
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume_spec, volume_kind
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.scenes.volumes.opening import VolumeScene

AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Where each anatomical axis points, backward and forward."""


def describe_volume(uri: str, t: int | None) -> dict[str, Any]:
    """Return what a volume is, as plain JSON values; of a file of several times, the first unless told.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    spec = read_volume_spec(uri, Selection(0 if t is None else t))
    slicings = {name: Slicing.along(axis, spec.affine) for name, axis in ANATOMICAL_AXES.items()}
    letters = [""] * 3
    for (first, second), slicing in zip(AXIS_LETTERS, slicings.values(), strict=True):
        letters[slicing.order[0]] = first if slicing.flipped[0] else second
    spacing = [math.sqrt(sum(spec.affine[row][axis] ** 2 for row in range(3))) for axis in range(3)]
    return {
        "source": shown_name(uri),
        "kind": volume_kind(uri),
        "voxels": list(spec.shape),
        "times": spec.times,
        "dtype": spec.dtype,
        "spacing_mm": [round(step, 6) for step in spacing],
        "orientation": "".join(letters),
        "slices": {name: slicing.shape_of(spec.shape)[0] for name, slicing in slicings.items()},
        "affine_ras_mm": [list(row) for row in spec.affine],
        "voxel_volume_mm3": spec.voxel_volume if spec.has_known_depth else None,
        "uncompressed_bytes": spec.nbytes,
        "notes": list(spec.notes),
    }


def volume_summary(uri: str, volume: VolumeScene) -> str:
    """Return one line for a Plan."""
    slices, rows, columns = volume.shape
    names = ", ".join(direction.slicing.name for direction in volume.directions)
    size = f"{counted(slices, 'slice')} of {rows:,} x {columns:,} voxels"
    return f"{shown_name(uri)}, {size}, {names}, {volume.spec.dtype}"
