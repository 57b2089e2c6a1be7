"""What the report says of a volume: voxels and millilitres of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import zarr

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.overviews import shard_windows
from segment_tiles.workflows.scenes.volumes.opening import VolumeScene

CUBIC_MILLIMETERS_PER_MILLILITER: Final = 1000.0


def volume_classes(
    volume: VolumeScene, table: ClassTable, shards: Mapping[tuple[int, int], Sequence[int]]
) -> dict[str, Any]:
    """Return counts of voxels and volumes in ml of all classes and of nodata; None for ml if the depth is unknown.

    Parameters
    ----------
    volume, table
        What was segmented, and its classes.
    shards
        Counts by (shard row, shard column), from the ledger; nodata last.
    """
    counts = [sum(column) for column in zip(*shards.values(), strict=True)] or [0] * (table.count + 1)
    known = volume.spec.has_known_depth
    milliliters = partial(_milliliters, volume)
    return {
        "volume_unit": "ml" if known else None,
        "voxel_volume_mm3": volume.spec.voxel_volume if known else None,
        "classes": [
            {
                "code": entry.code,
                "name": entry.name,
                "voxels": voxels,
                "volume_ml": milliliters(voxels),
            }
            for entry, voxels in zip(table.classes, counts[:-1], strict=True)
        ],
        "nodata": {"code": table.nodata, "voxels": counts[-1], "volume_ml": milliliters(counts[-1])},
    }


def mask_volumes(volume: VolumeScene, table: ClassTable, group: zarr.Group) -> dict[str, Any]:
    """Return voxels and ml of each class that may overlap others, from its mask; {} if there are no masks.

    Parameters
    ----------
    volume, table
        What was segmented, and its classes.
    group
        The store.
    """
    masks = masks_of(group)
    if masks is None:
        return {}
    slices, rows, columns = volume.shape
    counts = dict.fromkeys(masks.of_classes, 0)
    for number in range(slices):
        for window in shard_windows(rows, columns):
            for code in counts:
                counts[code] += int(masks.read_part(code, (number, *window.slices())).sum())
    names = {entry.code: entry.name for entry in table.classes}
    return {
        "masks": [
            {"code": code, "name": names[code], "voxels": voxels, "volume_ml": _milliliters(volume, voxels)}
            for code, voxels in counts.items()
        ]
    }


def _milliliters(volume: VolumeScene, voxels: int) -> float | None:
    """Return the volume of voxels; None if the depth of slices is unknown."""
    if not volume.spec.has_known_depth:
        return None
    return voxels * volume.spec.voxel_volume / CUBIC_MILLIMETERS_PER_MILLILITER


def volume_source(volume: VolumeScene, uri: str) -> dict[str, Any]:
    """Return what was read: the volume, the box of it, and how it was cut."""
    spec = volume.spec
    return {
        "uri": shown_name(uri),
        "shape": list(spec.shape),
        "channels": spec.channels,
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        "affine": [list(row) for row in spec.affine],
        "t": volume.selection.t,
        "axes": [direction.slicing.name for direction in volume.directions],
        "neighbours": volume.neighbours,
        "first_voxel": list(volume.origin),
        "voxels": list(volume.box),
        "slices_rows_columns": list(volume.shape),
    }
