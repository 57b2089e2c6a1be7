"""On which grid the result of a raster or slide lies: that of the source itself, or that on which the model saw it."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.pipeline.grid.grid_map import AxisMap, GridMap
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.sources.protocol import reductions_of
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.cut import ResultGrid
from segment_tiles.workflows.scenes.rasters.opener import RasterOpener


def is_on_own_grid(config: RunConfig, view: View) -> bool:
    """Return whether the result lies on the source's own grid: as asked, else of what is read at metres per pixel."""
    return view.metres is not None if config.grid is None else config.grid == "source"


def own_grid(opener: RasterOpener, spec: RasterSpec) -> ResultGrid | None:
    """Return the grid of full resolution; None if the source is read on it.

    Parameters
    ----------
    opener, spec
        Of the source as it is read.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    full = replace(opener, level=0, view=replace(opener.view, mpp=None, metres=None))
    if full == opener:
        return None
    source = full.handle()
    try:
        own = replace(source.spec, reductions=reductions_of(source))
    finally:
        source.close()
    down, across = spec.downsample or (own.height / spec.height, own.width / spec.width)
    if (down, across) == (1, 1):
        return None
    rows, columns = AxisMap(own.height, spec.height, down), AxisMap(own.width, spec.width, across)
    return ResultGrid(own, GridMap(rows, columns), full)
