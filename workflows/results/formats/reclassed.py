"""A finished class map with other classes, as a store beside the books of the run, of which formats are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from segment_tiles.pipeline.durable import PARTIAL, remove
from segment_tiles.pipeline.grid.reclass import Reclass
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews, shard_windows
from segment_tiles.pipeline.outputs.stores.store import (
    array_of,
    create_store,
    open_store,
    read_class_table,
    read_georef,
)
from segment_tiles.pipeline.outputs.stores.volume_store import create_volume_store, read_geometry

_STORE: Final = f"reclassed.zarr{PARTIAL}"
"""Under such a name the next run removes what a killed export left."""


@contextmanager
def reclassed_store(own: Path, group: zarr.Group, reclass: Reclass) -> Iterator[zarr.Group]:
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
    path = own / _STORE
    shape = array_of(group, "classes").shape
    try:
        if len(shape) == 2:
            create_store(path, (shape[0], shape[1]), read_georef(group), reclass.table)
        else:
            create_volume_store(path, read_geometry(group), reclass.table)
        made = open_store(path, "r+")
        _fill(group, made, reclass)
        if len(shape) == 2:
            build_overviews(made)
        yield open_store(path)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        remove(path)


def _fill(group: zarr.Group, made: zarr.Group, reclass: Reclass) -> None:
    """Fill in classes and confidence, shard by shard."""
    nodata = read_class_table(group).nodata
    classes, confidence = array_of(group, "classes"), array_of(group, "confidence")
    planes = range(classes.shape[0]) if classes.ndim > 2 else (None,)
    for plane in planes:
        for window in shard_windows(*classes.shape[-2:]):
            index = window.slices() if plane is None else (plane, *window.slices())
            array_of(made, "classes")[index] = reclass.of_map(np.asarray(classes[index]), nodata)
            array_of(made, "confidence")[index] = np.asarray(confidence[index])


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
