"""Formats of a finished class map whose classes are merged, renamed, recoloured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.reclass import Reclass
from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table
from segment_tiles.workflows.results.formats.changed_store import ChangedMasks, changed_store


def reclassed_store(own: Path, group: zarr.Group, reclass: Reclass) -> AbstractContextManager[zarr.Group]:
    """Give a store with the new classes and the confidence of a finished one; it is removed at the end.

    Parameters
    ----------
    own
        Folder with the books of the run.
    group
        Its store.
    reclass
        What becomes of its classes.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    nodata = read_class_table(group).nodata
    classes, confidence = array_of(group, "classes"), array_of(group, "confidence")

    def change(index: tuple[Any, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        return reclass.of_map(np.asarray(classes[index]), nodata), np.asarray(confidence[index])

    return changed_store(own, "reclassed", group, reclass.table, change, _masks(group, reclass))


def _masks(group: zarr.Group, reclass: Reclass) -> ChangedMasks | None:
    """Return the masks of the new classes: those of the model, some of which are of one class now."""
    masks = masks_of(group)
    if masks is None:
        return None
    planes = masks.planes
    return ChangedMasks(
        masks.reclassed(dict(reclass.codes)).codes, lambda index: np.asarray(planes[(slice(None), *index)])
    )


def reclassed_report(report: Mapping[str, Any], reclass: Reclass) -> dict[str, Any]:
    """Return a report whose classes are the new ones, with the sums of what is counted of the old."""
    before = report["classes"]
    counted = [key for key in before[0] if key not in {"code", "name"}] if before else []
    summed = {
        key: reclass.sums([entry[key] for entry in before])
        for key in counted
        if all(entry[key] is not None for entry in before)
    }
    classes = [
        {"code": entry.code, "name": entry.name, **{key: values[n] for key, values in summed.items()}}
        for n, entry in enumerate(reclass.classes)
    ]
    return {**report, "classes": classes}
