"""The class map as a pyramidal OME-TIFF mask: what QuPath, Fiji and Bio-Formats open beside a slide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.masks.label_levels import label_shapes, level_parts
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table, read_georef
from segment_tiles.pipeline.sources.pyramids.physical_size import MICROMETERS_PER_UNIT

TILE: Final = 512
"""Side of a tile in pixels; the shards of the store are multiples of it."""
MICROMETERS_PER_CENTIMETER: Final = 10_000.0


def write_ome_tiff(
    group: zarr.Group,
    path: Path,
    *,
    source_levels: Sequence[tuple[int, int]] = (),
    name: str = "classes",
) -> None:
    """Write the class codes with physical size, class names and colours, and as many levels as the source.

    Parameters
    ----------
    group
        The store of a run, with overviews.
    path
        The file to write or replace.
    source_levels
        Rows and columns of the levels of the source.
    name
        Of the image.

    Raises
    ------
    MissingExtraError
        If tifffile is not installed.
    WriteFailedError
        If the disk is full or read-only; nothing stands under the final name then.
    """
    try:
        import tifffile  # noqa: PLC0415 - of an extra
    except ImportError as error:
        msg = "--format ome-tiff needs tifffile; pip install 'segment-tiles[slides]'"
        raise MissingExtraError(msg) from error
    table, georef = read_class_table(group), read_georef(group)
    height, width = array_of(group, "classes").shape
    shapes = label_shapes((height, width), source_levels)
    with finished_file(path) as partial, tifffile.TiffWriter(partial, bigtiff=True, ome=True) as file:
        for level, shape in enumerate(shapes):
            whole: dict[str, Any] = {"subifds": len(shapes) - 1, "metadata": _metadata(table, georef, name)}
            file.write(
                _tiles(group, shape),
                shape=shape,
                dtype=table.dtype,
                tile=(TILE, TILE),
                photometric="minisblack",
                compression="deflate",
                maxworkers=1,  # tiles are compressed as they come: no more of them in memory than one
                **_resolution(georef, shapes[0], shape),
                **(whole if level == 0 else {"subfiletype": 1}),
            )


def _tiles(group: zarr.Group, shape: tuple[int, int]) -> Iterator[NDArray[Any]]:
    """Yield the tiles of a level in reading order; a row of shards is one row of tiles high."""
    row: list[tuple[int, NDArray[Any]]] = []
    top = 0
    for window, codes in level_parts(group, shape):
        if window.row != top:
            yield from _cut(row)
            row, top = [], window.row
        row.append((window.column, codes))
    yield from _cut(row)


def _cut(row: Sequence[tuple[int, NDArray[Any]]]) -> Iterator[NDArray[Any]]:
    for _, codes in row:
        for left in range(0, codes.shape[1], TILE):
            part = codes[:, left : left + TILE]
            yield np.pad(part, [(0, TILE - part.shape[0]), (0, TILE - part.shape[1])])


def _metadata(table: ClassTable, georef: GeoRef, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": "YX",
        "Name": name,
        "Description": f"Class codes; {table.nodata} is no data. Research use, not for diagnosis.",
        "MapAnnotation": {f"class {entry.code}": entry.name for entry in table.classes}
        | {f"color {entry.code}": "#{:02x}{:02x}{:02x}".format(*entry.color) for entry in table.classes},
    }
    micrometers = MICROMETERS_PER_UNIT.get(georef.unit)
    if micrometers is not None:
        a, _, _, _, e, _ = georef.transform
        for axis, size in (("X", abs(a)), ("Y", abs(e))):
            metadata[f"PhysicalSize{axis}"] = size * micrometers
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    return metadata


def _resolution(georef: GeoRef, full: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
    """Return the TIFF resolution tags of a level, pixels per centimetre."""
    micrometers = MICROMETERS_PER_UNIT.get(georef.unit)
    if micrometers is None:
        return {}
    a, _, _, _, e, _ = georef.transform
    width, height = (
        abs(size) * micrometers * n / m for size, n, m in ((a, full[1], shape[1]), (e, full[0], shape[0]))
    )
    per = MICROMETERS_PER_CENTIMETER
    return {"resolution": (per / width, per / height), "resolutionunit": "CENTIMETER"}
