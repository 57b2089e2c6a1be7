"""The thumbnail of a raster or slide: what its run has seen of it, or an overview that is cheaper still."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.grid_map import GridMap
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.pictures.display_colors import shown_bands
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.overviews import overview_shapes, shard_windows
from segment_tiles.pipeline.outputs.stores.store import array_of, read_class_table
from segment_tiles.pipeline.outputs.stores.unfinished import window_of_row
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.thumbnail import Thumbnail, ThumbnailGrid, WatchedSource
from segment_tiles.pipeline.sources.window_parts import parts_of
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.scene import Scene

log = logging.getLogger(__name__)

LONGEST_SIDE: Final = 1200
"""Rows or columns up to which a level is small enough to draw."""
WORTH_AN_OVERVIEW: Final = 4.0
"""How many times fewer rows an overview must have: decoding it then takes a sixteenth of the raster, or less."""
COLUMNS_AT_ONCE: Final = 2048
"""Of one read, if the source has to be looked at again."""


def small_level(shape: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return the first level of a class map that is small enough to draw, and its rows and columns.

    >>> small_level((8192, 600)), small_level((400, 300))
    ((3, (1024, 75)), (0, (400, 300)))
    """
    levels = [shape, *overview_shapes(*shape)]
    return next((n, level) for n, level in enumerate(levels) if max(level) <= LONGEST_SIDE)


def thumbnail_grid(
    spec: RasterSpec, roi: Window, names: Sequence[str], to_read: GridMap | None = None
) -> ThumbnailGrid | None:
    """Return what is kept of a source as it is read; None if it has an overview to draw instead.

    Parameters
    ----------
    spec, roi
        On the grid of the result.
    names
        Of the bands that are read.
    to_read
        From that grid to the source as it is read; None: they are one.
    """
    _, shape = small_level(roi.shape)
    wanted = min(side / small for side, small in zip(roi.shape, shape, strict=True))
    if any(WORTH_AN_OVERVIEW <= reduction <= wanted for reduction in spec.reductions):
        return None
    return ThumbnailGrid(roi, shape, shown_bands(spec.bands, names), to_read)


def seen_thumbnail(
    scene: Scene, grid: ThumbnailGrid, directory: OutputDirectory, group: zarr.Group
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return what the run has seen of its source: the bands of the grid x rows x columns, and what is shown.

    A piece that is not there any more, or was never kept, is read from the source again.

    Raises
    ------
    SourceError, ReadFailedError
        If it has to be, and cannot be read.
    """
    whole = Thumbnail(grid, scene.roi, scene.spec.dtype)
    missing = set(shard_windows(*scene.roi.shape))
    for entry, content in Ledger(directory.ledger).thumbnails():
        window = window_of_row(entry.shard_row, entry.shard_columns, scene.roi.shape)
        if whole.take(window, content):
            missing = {shard for shard in missing if not window.contains(shard)}
    if missing:
        log.info(
            "%s of the source are read again for the preview: what the run saw of them was not kept",
            counted(len(missing), "part"),
        )
        _look_again(whole, sorted(missing), scene, group)
    return whole.values, whole.valid


def _look_again(whole: Thumbnail, missing: list[Window], scene: Scene, group: zarr.Group) -> None:
    codes, nodata = array_of(group, "classes"), read_class_table(group).nodata
    source = opened_plane(scene)
    try:
        watched = WatchedSource(source, whole)
        for window in missing:
            there = scene.result.read_for(window)
            for part in parts_of(there, scene.spec.chunk, -(-there.width // COLUMNS_AT_ONCE)):
                watched.read(part)
            whole.show(window, np.asarray(codes[window.slices()]), nodata)
    finally:
        source.close()


def opened_plane(scene: Scene) -> Source:
    """Open the plane of a scene as its run reads it; it is to be closed.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    (source,) = scene.result.opener.open().sources((0,))
    return source


def opened_on_grid(scene: Scene) -> Source:
    """Open the plane of a scene on the grid of its result; it is to be closed.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    grid = scene.result.result_grid
    if grid is None:
        return opened_plane(scene)
    (source,) = grid.opener.open().sources((0,))
    return source
