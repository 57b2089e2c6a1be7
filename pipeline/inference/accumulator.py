"""The band accumulator: scores of tiles in, final class codes out; only the overlap is kept.

Tiles arrive in lattice order. What no later tile can change leaves at once::

      0        S        T
    0 |--------|~~~~~~~~|      after tile (i, j): columns [0, S) are final along x,
      |  final |  left  |      their rows [0, S) are final along y too: argmax, forget;
    S |--------|  carry |      rows [S, T) wait in ``up`` for the row of tiles below,
      |   up   |        |      columns [S, T) wait in ``left`` for the next tile of the row
    T |--------|~~~~~~~~|

S is the stride, and T the side of what a tile gives scores for: its own, without the margin of a network that crops.
So the memory is classes x overlap x width, not classes x height x width. The blend itself is the
running mean of ``grid.blend``: three elementwise steps, each rounded once, so that the numbers do
not depend on vector width, threads or the Region.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segment_tiles.pipeline.grid.blend import overlap_ratios
from segment_tiles.pipeline.grid.lattice import Lattice, LatticeAxis


@dataclass(frozen=True, slots=True)
class FinalScores:
    """Scores that no later tile changes."""

    row: int
    """First row, in pixels of the raster."""
    column: int
    """First column, in pixels of the raster."""
    scores: Tensor
    """classes x rows x columns, float32; a view that the next tile overwrites."""


class BandAccumulator:
    """Blends the tiles of a Region, one row of tiles after the other.

    Parameters
    ----------
    lattice
        The grid of tiles.
    column_indices
        The tiles of a row that the Region needs.
    classes
        Number of classes.
    blend
        Name of the blend weight.
    device
        Device that holds the scores.
    """

    def __init__(
        self, lattice: Lattice, column_indices: range, classes: int, blend: str, device: torch.device
    ) -> None:
        self._lattice, self._columns = lattice, column_indices
        self._crop = blend == "crop"
        self._blend, self._device = blend, device
        self._ratios: dict[tuple[int, int], Tensor] = {}
        overlap, stride = lattice.shared, lattice.columns.stride
        width = (len(column_indices) - 1) * stride + lattice.scored
        self._up = torch.zeros((classes, overlap, width), dtype=torch.float32, device=device)
        self._left = torch.zeros((classes, lattice.scored, overlap), dtype=torch.float32, device=device)

    def add(self, row_index: int, column_index: int, scores: Tensor) -> FinalScores:
        """Blend one tile, in lattice order, and return what is final now.

        Parameters
        ----------
        row_index, column_index
            Index of the tile.
        scores
            classes x T x T, float32, on the device of the accumulator, without a margin; changed in place.
        """
        rows, columns = self._lattice.rows, self._lattice.columns
        overlap, stride = self._lattice.shared, columns.stride
        if column_index > self._columns[0]:
            self._mix(scores[:, :, :overlap], self._left, columns, column_index, along_rows=False)
        self._left.copy_(scores[:, :, stride:])
        strip = scores[:, :, : columns.final_stop(column_index) - columns.first(column_index)]
        offset = columns.first(column_index) - columns.first(self._columns[0])
        up = self._up[:, :, offset : offset + strip.shape[2]]
        if row_index > 0:
            self._mix(strip[:, :overlap], up, rows, row_index, along_rows=True)
        up.copy_(strip[:, stride:])
        height = rows.final_stop(row_index) - rows.first(row_index)
        return FinalScores(rows.first(row_index), columns.first(column_index), strip[:, :height])

    def _mix(self, scores: Tensor, mean: Tensor, axis: LatticeAxis, index: int, *, along_rows: bool) -> None:
        """Put the running mean of the earlier tiles and this one into ``scores``."""
        if self._crop:
            halo = self._lattice.shared // 2
            earlier = (slice(None), slice(halo)) if along_rows else (..., slice(halo))
            scores[earlier] = mean[earlier]
            return
        ratio = self._ratio(axis, index)
        ratio = ratio[:, None] if along_rows else ratio
        # three roundings, never a fused multiply-add: see the module's text
        scores.sub_(mean).mul_(ratio).add_(mean)

    def _ratio(self, axis: LatticeAxis, index: int) -> Tensor:
        # tiles further inside than the overlap reaches all have the same ratios
        reach = min(index, -(-axis.scored // axis.stride))
        key = (axis.tile, reach)
        if key not in self._ratios:
            self._ratios[key] = torch.from_numpy(overlap_ratios(self._blend, axis, reach)).to(self._device)
        return self._ratios[key]


def class_codes(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of the highest score, and that score; the lowest code if scores tie.

    Parameters
    ----------
    scores
        classes x rows x columns, float32.

    Returns
    -------
    codes
        rows x columns, uint8 up to 255 classes, int32 above.
    best
        rows x columns, float32.
    """
    dtype = torch.uint8 if scores.shape[0] <= 255 else torch.int32
    if scores.shape[0] == 1:
        return torch.zeros(scores.shape[1:], dtype=dtype, device=scores.device), scores[0].clone()
    codes = (scores[1] > scores[0]).view(torch.uint8).to(dtype)
    best = torch.maximum(scores[0], scores[1])
    for code in range(2, scores.shape[0]):
        # a later code is larger than all before, so a maximum puts it in: quicker than a mask
        higher = (scores[code] > best).view(torch.uint8).to(dtype)
        torch.maximum(codes, higher.mul_(code), out=codes)
        torch.maximum(best, scores[code], out=best)
    return codes, best


def clear_not_finite(codes: Tensor, best: Tensor, nodata: int) -> Tensor | None:
    """Set pixels whose best score is not a number to nodata, and return them as a mask; None if there are none.

    The other scores need no second look. Softmax turns a logit that is NaN or +infinity into NaN for every class of
    its pixel, and does the same if all are -infinity; the running mean keeps a NaN; a maximum is NaN if one of its
    values is. A single -infinity is legal: the probability of that class is 0.

    Parameters
    ----------
    codes, best
        rows x columns, from `class_codes`; written.
    nodata
        Code of pixels without class.

    Returns
    -------
    Tensor or None
        rows x columns, bool. On a GPU always a tensor: the host would have to wait to learn that it is empty.
    """
    lost = best.isnan()
    if lost.device.type == "cpu" and not lost.any():
        return None
    codes.masked_fill_(lost, nodata)
    best.masked_fill_(lost, 0.0)
    return lost


def put_bytes(target: Tensor, share: Tensor) -> None:
    """Write a share 0 to 1 as uint8 0 to 255, rounded to the nearest.

    Parameters
    ----------
    target
        uint8; written.
    share
        float32, of the same shape.
    """
    target.copy_(share.mul(255.0).add_(0.5).clamp_(0.0, 255.0))
