"""A finished class map with other classes, as a store beside the books of the run, of which formats are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.durable import PARTIAL, remove
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews, shard_windows
from segment_tiles.pipeline.outputs.stores.store import (
    array_of,
    create_store,
    open_store,
    read_georef,
    read_score_names,
)
from segment_tiles.pipeline.outputs.stores.volume_store import create_volume_store, read_geometry


@dataclass(frozen=True, slots=True)
class ChangedMasks:
    """Masks of classes that may overlap, as they will be."""

    codes: tuple[int, ...]
    """Of each in the map, last of pixels that have none (`ClassMasks.codes`)."""
    planes: Callable[[tuple[Any, ...]], NDArray[np.uint8]]
    """Returns classes x rows x columns of a part of the store, by its index; of a volume of one slice."""


Change = Callable[[tuple[Any, ...]], tuple[NDArray[Any], NDArray[Any]]]
"""Returns classes and confidence of a part of a store, by its index: perhaps a plane, rows and columns."""


@contextmanager
def changed_store(
    own: Path,
    name: str,
    group: zarr.Group,
    table: ClassTable,
    change: Change,
    masks: ChangedMasks | None = None,
) -> Iterator[zarr.Group]:
    """Give a store of the shape of a finished one with other classes and confidence; it is removed at the end.

    Parameters
    ----------
    own, name
        Folder with the books of the run, and what the store is called there.
    group
        The store of the run.
    table
        Its classes then.
    change
        Makes its parts.
    masks
        Of classes that may overlap.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    # under such a name the next run removes what a killed export left
    path = own / f"{name}.zarr{PARTIAL}"
    shape = array_of(group, "classes").shape
    try:
        if len(shape) == 2:
            _create(path, group, table, masks)
        else:
            create_volume_store(path, read_geometry(group), table, masks=() if masks is None else masks.codes)
        made = open_store(path, "r+")
        for index in parts_of_store(shape):
            array_of(made, "classes")[index], array_of(made, "confidence")[index] = change(index)
            if masks is not None and "masks" in made:
                _copy_scores(group, made, index)
                array_of(made, "masks")[(slice(None), *index)] = masks.planes(index)
        if len(shape) == 2:
            build_overviews(made)
        yield open_store(path)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        remove(path)


def _create(path: Path, group: zarr.Group, table: ClassTable, masks: ChangedMasks | None) -> None:
    rows, columns = array_of(group, "classes").shape
    scored = tuple(MapClass(code, name, (0, 0, 0)) for code, name in enumerate(read_score_names(group)))
    create_store(
        path,
        (rows, columns),
        read_georef(group),
        table,
        with_scores=masks is not None and "scores" in group,
        scored=ClassTable(scored),
        masks=() if masks is None else masks.codes,
    )


def _copy_scores(group: zarr.Group, made: zarr.Group, index: tuple[Any, ...]) -> None:
    """Copy scores, of which the mean confidence of polygons of a mask is made."""
    if "scores" in made:
        array_of(made, "scores")[(slice(None), *index)] = array_of(group, "scores")[(slice(None), *index)]


def parts_of_store(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the index of every shard of an array, plane by plane if it has planes."""
    planes: list[tuple[Any, ...]] = [(plane,) for plane in range(shape[0])] if len(shape) > 2 else [()]
    for plane in planes:
        for window in shard_windows(*shape[-2:]):
            yield (*plane, *window.slices())
