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


def result_grid(config: RunConfig, opener: RasterOpener, spec: RasterSpec) -> ResultGrid | None:
    """Return the grid on which the result lies; None if the source is read on it.

    Parameters
    ----------
    config
        What is asked for: the map of a mask lies on the grid of the map that it limits.
    opener, spec
        Of the source as it is read.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    full = replace(opener, level=0, view=replace(opener.view, mpp=None, metres=None))
    if config.lies_on is not None:
        level, view = config.lies_on
        target = replace(opener, level=level, view=view)
    else:
        target = full if is_on_own_grid(config, opener.view) else opener
    if target == opener:
        return None
    own = _spec_of(target)
    whole = own if target == full else _spec_of(full)
    read, lying = _steps(spec, whole), _steps(own, whole)
    steps = read[0] / lying[0], read[1] / lying[1]
    return None if steps == (1, 1) else ResultGrid(own, _map_of(own, spec, steps), target)


def map_to(own: RasterSpec, spec: RasterSpec) -> GridMap:
    """Return the map from a raster's own grid to that on which it is read."""
    return _map_of(own, spec, _steps(spec, own))


def _map_of(own: RasterSpec, spec: RasterSpec, steps: tuple[float, float]) -> GridMap:
    rows, columns = AxisMap(own.height, spec.height, steps[0]), AxisMap(own.width, spec.width, steps[1])
    return GridMap(rows, columns)


def _spec_of(opener: RasterOpener) -> RasterSpec:
    source = opener.handle()
    try:
        return replace(source.spec, reductions=reductions_of(source))
    finally:
        source.close()


def _steps(spec: RasterSpec, whole: RasterSpec) -> tuple[float, float]:
    """Return pixels of full resolution, down and across, in one of a source as it is read."""
    return spec.downsample or (whole.height / spec.height, whole.width / spec.width)
