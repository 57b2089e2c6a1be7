"""Finished rows on the grid of the result: each of its pixels takes the class of the computed one it lies in.

::

    rows as they are computed     |    i     |   i + 1  |
    rows of the result            | j |j + 1 |j + 2 |        a few at a time, so that little is held

A pixel of the source that holds no data, or lies outside the AOI, comes out as nodata, whatever was computed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.grid.grid_map import PIXELS_AT_ONCE, GridMap
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.sources.areas.area_of_interest import Area
from segment_tiles.pipeline.sources.protocol import KnowsHoles, Source
from segment_tiles.pipeline.sources.validity import both
from segment_tiles.pipeline.sources.window_parts import parts_of

READ_AT_ONCE: Final = 2048
"""Columns of the source that are read together for their mask."""


class ResultPixels:
    """Which pixels of the result's own grid may have a class.

    Parameters
    ----------
    source
        Open on that grid, and only asked where it holds data; None: it does everywhere, or the computed rows know.
    area
        AOI on that grid, or None.
    """

    def __init__(self, source: Source | None, area: Area | None) -> None:
        self._source, self._area = source, area

    def mask(self, window: Window) -> NDArray[np.bool_] | None:
        """Return them, rows x columns; None if it is all of the window.

        Raises
        ------
        ReadFailedError
            If the source stops answering, after retries.
        """
        held = None if self._source is None else _held(self._source, window)
        held = held if self._area is None else both(held, self._area.mask(window))
        return None if held is None or held.all() else held


def _held(source: Source, window: Window) -> NDArray[np.bool_]:
    mask = np.ones(window.shape, dtype=bool)
    for part in parts_of(window, source.spec.chunk, -(-window.width // READ_AT_ONCE)):
        box = part.relative_to(window).slices()
        if isinstance(source, KnowsHoles) and source.is_surely_empty(part):
            mask[box] = False
            continue
        found = source.valid(part, source.read(part))
        if found is not None:
            mask[box] = found
    return mask


def result_rows(
    computed: Iterable[FinishedRows], grid: GridMap, window: Window, pixels: ResultPixels, nodata: int
) -> Iterator[FinishedRows]:
    """Yield the rows of a window of the result, made of finished rows that cover it.

    Parameters
    ----------
    computed
        Finished rows of ``grid.covering(window)``, from top to bottom.
    grid
        From the result to what is computed; the identity of what is not resampled, whose rows are passed on.
    window
        In pixels of the result's grid.
    pixels
        Which pixels may have a class.
    nodata
        Code of those that may not.

    Raises
    ------
    ReadFailedError
        If the source of ``pixels`` stops answering, after retries.
    """
    if grid.is_identity:
        yield from computed
        return
    columns = grid.columns.indices(window.column, window.column_stop) - grid.covering(window).column
    step = max(1, PIXELS_AT_ONCE // window.width)
    with ContextPool(1, thread_name_prefix="mask") as pool:
        for rows in computed:
            top, bottom = grid.rows.taken_from(rows.row, rows.row + rows.classes.shape[0])
            first, stop = max(top, window.row), min(bottom, window.row_stop)
            parts = [
                Window.from_edges(row, window.column, min(row + step, stop), window.column_stop)
                for row in range(first, stop, step)
            ]
            yield from _spread(rows, grid, parts, columns, pixels, nodata, pool)


def _spread(
    rows: FinishedRows,
    grid: GridMap,
    parts: list[Window],
    columns: NDArray[np.intp],
    pixels: ResultPixels,
    nodata: int,
    pool: ContextPool,
) -> Iterator[FinishedRows]:
    """Yield parts of the result that are taken from the same finished rows; the mask of the next one is read ahead."""
    waiting = [pool.submit(pixels.mask, part) for part in parts[:1]]
    for position, part in enumerate(parts):
        held = waiting.pop().result()
        waiting = [pool.submit(pixels.mask, following) for following in parts[position + 1 : position + 2]]
        picked = np.ix_(grid.rows.indices(part.row, part.row_stop) - rows.row, columns)
        classes, confidence = rows.classes[picked], rows.confidence[picked]
        scores = None if rows.scores is None else rows.scores[:, picked[0], picked[1]]
        lost = None if rows.not_finite is None else rows.not_finite[picked]
        if held is not None:
            _leave_out(~held, classes, confidence, scores, nodata)
            lost = None if lost is None else lost & held
        yield FinishedRows(part.row, classes, confidence, scores, lost)


def _leave_out(
    missing: NDArray[np.bool_],
    classes: NDArray[Any],
    confidence: NDArray[np.uint8],
    scores: NDArray[np.uint8] | None,
    nodata: int,
) -> None:
    classes[missing], confidence[missing] = nodata, 0
    if scores is not None:
        scores[:, missing] = 0
