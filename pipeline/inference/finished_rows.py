"""Rows that no later tile changes: on their way from the device, and on the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.inference.transfers import Arrival


@dataclass(frozen=True, slots=True)
class FinishedRows:
    """Rows of the Region that no later tile changes, over its whole width."""

    row: int
    """First row, in pixels of the raster."""
    classes: NDArray[Any]
    """rows x width: class codes, nodata if there is none."""
    confidence: NDArray[np.uint8]
    """rows x width: highest probability x 255; 0 at nodata."""
    scores: NDArray[np.uint8] | None
    """classes x rows x width: probabilities x 255, if asked for; 0 at nodata."""
    not_finite: NDArray[np.bool_] | None = None
    """rows x width: pixels that hold data and are nodata, because their scores are NaN; None if there are none."""
    masks: NDArray[np.uint8] | None = None
    """classes x rows x width: 1 where a class reaches its threshold, of a model whose classes may overlap."""


@dataclass(frozen=True, slots=True)
class LeavingRow:
    """A row of tiles that is finished, cut to the Region, on its way to the host."""

    row: int
    """First row, in pixels of the raster."""
    unwanted: NDArray[np.bool_] | None
    """rows x width: pixels that become nodata; None if none does."""
    codes: Arrival
    """rows x width: class codes."""
    confidence: Arrival
    """rows x width: highest probability x 255."""
    scores: Arrival | None
    """classes x rows x width: probabilities x 255, if asked for."""

    def arrived(self, table: ClassTable) -> FinishedRows:
        """Wait for the rows and set pixels that are not wanted to nodata."""
        classes = self.codes.array().astype(table.dtype, copy=False)
        confidence = self.confidence.array()
        scores = None if self.scores is None else self.scores.array()
        not_finite = classes == table.nodata
        if self.unwanted is not None:
            not_finite &= ~self.unwanted
            classes[self.unwanted], confidence[self.unwanted] = table.nodata, 0
            if scores is not None:
                scores[:, self.unwanted] = 0
        lost = not_finite if not_finite.any() else None
        return FinishedRows(self.row, classes, confidence, scores, lost)


def with_masks(rows: FinishedRows, decision: Decision | None) -> FinishedRows:
    """Return rows with a mask for each class, if classes may overlap; where there is no class, scores are 0."""
    if decision is None or not decision.multi_label or rows.scores is None:
        return rows
    return replace(rows, masks=decision.masks(rows.scores))
