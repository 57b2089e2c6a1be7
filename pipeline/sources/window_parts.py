"""Parts of a window that cut no chunk in two."""

from __future__ import annotations

from itertools import pairwise

from segment_tiles.pipeline.grid.window import Window


def parts_of(window: Window, chunk: tuple[int, int], count: int) -> list[Window]:
    """Divide a window into at most ``count`` parts along the axis that crosses more chunks, at their edges.

    >>> parts_of(Window(0, 100, 512, 1000), (512, 256), 2)
    [Window(row=0, column=100, height=512, width=412), Window(row=0, column=512, height=512, width=588)]
    """
    rows = _edges(window.row, window.row_stop, chunk[0], count)
    columns = _edges(window.column, window.column_stop, chunk[1], count)
    if len(rows) > len(columns):
        return [
            Window.from_edges(top, window.column, bottom, window.column_stop)
            for top, bottom in pairwise(rows)
        ]
    return [Window.from_edges(window.row, left, window.row_stop, right) for left, right in pairwise(columns)]


def _edges(start: int, stop: int, chunk: int, count: int) -> list[int]:
    """Return start, the edges of chunks between at most ``count`` nearly equal parts, and stop.

    >>> _edges(100, 1100, 256, 2), _edges(0, 200, 256, 4)
    ([100, 512, 1100], [0, 200])
    """
    first, last = start // chunk, -(-stop // chunk)
    parts = max(1, min(count, last - first))
    inner = [(first + (last - first) * part // parts) * chunk for part in range(1, parts)]
    return [start, *inner, stop]
