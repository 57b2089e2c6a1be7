"""A row of tiles whose classes are not all known yet: final scores are reduced to bytes as they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.accumulator import class_codes, clear_not_finite, put_bytes
from segment_tiles.pipeline.inference.decide import decided


@dataclass(slots=True)
class OpenRow:
    """A row of tiles on its way: results gather here until its last tile is blended."""

    window: Window
    """Of the raster."""
    wanted: NDArray[np.bool_] | None
    """rows x columns: pixels that are not nodata; None if none is."""
    codes: Tensor
    """rows x columns: class codes, on the device that computes."""
    confidence: Tensor
    """rows x columns, uint8."""
    scores: Tensor | None
    """classes x rows x columns, uint8, if they are asked for."""
    pending: int = 0
    """Tiles that are queued and not blended yet."""
    queued: bool = False
    """Whether all of its tiles are."""

    @classmethod
    def opened(
        cls,
        window: Window,
        wanted: NDArray[np.bool_] | None,
        table: ClassTable,
        scores: int | None,
        device: torch.device,
    ) -> OpenRow:
        """Return a row without any class yet; `scores` is the number of classes whose scores are asked for."""
        dtype = torch.uint8 if table.dtype == "uint8" else torch.int32
        return cls(
            window,
            wanted,
            torch.full(window.shape, table.nodata, dtype=dtype, device=device),
            torch.zeros(window.shape, dtype=torch.uint8, device=device),
            None
            if scores is None
            else torch.zeros((scores, *window.shape), dtype=torch.uint8, device=device),
        )

    def put(self, column: int, scores: Tensor, table: ClassTable, decision: Decision | None) -> None:
        """Reduce final scores to bytes at their columns of the row.

        Parameters
        ----------
        column
            First of them, in pixels of the raster.
        scores
            classes x rows x columns, float32; written.
        table
            Classes of the map.
        decision
            Thresholds by which classes are given; None: the highest score wins.
        """
        left = column - self.window.column
        span = slice(left, left + scores.shape[2])
        if decision is not None:
            self._put_decided(span, scores, table, decision)
            return
        codes, best = class_codes(scores)
        lost = clear_not_finite(codes, best, table.nodata)
        self.codes[:, span] = codes
        put_bytes(self.confidence[:, span], best)
        if self.scores is not None:
            put_bytes(self.scores[:, :, span], scores)
            if lost is not None:
                self.scores[:, :, span].masked_fill_(lost, 0)

    def _put_decided(self, span: slice, scores: Tensor, table: ClassTable, decision: Decision) -> None:
        """Do the same by thresholds, which are compared with bytes."""
        lost = scores.amax(0).isnan()
        kept = torch.empty(scores.shape, dtype=torch.uint8, device=scores.device)
        put_bytes(kept, scores.masked_fill_(lost, 0.0))
        codes, confidence = decided(kept, decision)
        self.codes[:, span] = codes.masked_fill_(lost, table.nodata)
        self.confidence[:, span] = confidence.masked_fill_(lost, 0)
        if self.scores is not None:
            self.scores[:, :, span] = kept
