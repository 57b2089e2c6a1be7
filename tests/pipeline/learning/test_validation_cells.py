"""Cells in which held-out areas are scored: each pixel is in one, however the area comes in strips."""

from __future__ import annotations

import numpy as np

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.training.validation import CELL_SIDE, cells_of


def test_cells_share_an_area_whatever_its_strips() -> None:
    area = Window(10, 20, 2 * CELL_SIDE + 70, CELL_SIDE + 30)
    seen = np.zeros((area.row_stop, area.column_stop), dtype=int)
    cells = set()
    for top, bottom in ((10, 300), (300, 301), (301, 1000), (1000, area.row_stop)):
        rows = Window(top, 20, bottom - top, area.width)
        for cell in cells_of(area, rows):
            part = cell.intersect(rows)
            assert not part.is_empty
            seen[part.slices()] += 1
            cells.add(cell)
    assert (seen[area.slices()] == 1).all()
    assert seen.sum() == area.height * area.width
    assert len(cells) == 3 * 2
