"""Class codes of a Dask array, computed by Regions when they are asked for.

Each chunk of the result is a Region: a task that takes the pixels which its tiles read, halo included, and shares
nothing with other Regions but the chunks of the input. So memory does not grow with the height of the array, and
any scheduler of Dask can do the tasks, in any order, with the same bytes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import dask
import dask.array as da
import numpy as np

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import CHUNK
from segment_tiles.pipeline.sources.resampling.resampled_source import needed_of
from segment_tiles.workflows.face.arrays.run import ArrayRun, segmented_region

LARGEST_REGION: Final = 4
"""Chunks of the Zarr store along a side of a Region, at most: larger ones compute fewer borders twice."""
INPUT_OF_REGION: Final = 2**27
"""Bytes of pixels that one Region reads, unless its smallest form takes more."""


def lazy_classes(values: da.Array, run: ArrayRun) -> da.Array:
    """Return the class codes of an array, rows x columns, or masks (`segmented_region`); nothing is computed yet.

    Parameters
    ----------
    values
        Bands of the model x rows x columns.
    run
        How it is segmented.
    """
    side = region_side(run)
    height, width = run.spec.window.shape
    return da.block(
        [
            [
                _lazy_region(
                    values,
                    run,
                    Window.from_edges(top, left, min(top + side, height), min(left + side, width)),
                )
                for left in range(0, width, side)
            ]
            for top in range(0, height, side)
        ]
    )


def region_side(run: ArrayRun) -> int:
    """Return the side of a Region in pixels: whole chunks of the Zarr store."""
    pixel = run.spec.bands * run.spec.item_size
    tile = run.lattice.tile * max(run.grid.rows.factor, run.grid.columns.factor)
    for chunks in range(LARGEST_REGION, 1, -1):
        if pixel * (chunks * CHUNK + 2 * tile) ** 2 <= INPUT_OF_REGION:
            return chunks * CHUNK
    return CHUNK


def _lazy_region(values: da.Array, run: ArrayRun, region: Window) -> Any:
    part = part_of(run, region)
    # bound, for Dask would take the fields of a dataclass for arguments of its own
    work = dask.delayed(partial(_region, run=run, region=region, part=part), name="segment", pure=False)
    rows, columns = part.slices()
    codes = work(values[:, rows, columns])
    shape = run.shape_of(region)
    return da.from_delayed(codes, shape, meta=np.empty((0,) * len(shape), run.dtype))


def _region(values: Any, *, run: ArrayRun, region: Window, part: Window) -> Any:
    return segmented_region(np.asanyarray(values), run, region, part)


def part_of(run: ArrayRun, region: Window) -> Window:
    """Return what of the array a Region of the result needs."""
    tiles = read_by(run.lattice, run.grid.covering(region))
    if run.metres is None:
        return tiles
    needed = needed_of(tiles, run.spec, (run.grid.rows.factor, run.grid.columns.factor))
    # and where a pixel of the result holds data
    return Window.from_edges(
        min(needed.row, region.row), min(needed.column, region.column),
        max(needed.row_stop, region.row_stop), max(needed.column_stop, region.column_stop),
    )  # fmt: skip


def read_by(lattice: Lattice, region: Window) -> Window:
    """Return what the tiles of a Region read of the array as it is read."""
    rows = lattice.rows.covering(region.row, region.row_stop)
    columns = lattice.columns.covering(region.column, region.column_stop)
    return Window.from_edges(
        max(0, lattice.rows.start(rows[0])),
        max(0, lattice.columns.start(columns[0])),
        min(lattice.height, lattice.rows.stop(rows[-1])),
        min(lattice.width, lattice.columns.stop(columns[-1])),
    )
