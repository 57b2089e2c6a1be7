"""Scores near the edges of classes, in bands of fixed width in pixels.

::

    boundary IoU, width 2           trimap, width 2
    # of the class, o its inner     . both sides of a true edge, scored
    band; bands of truth and map    like any other pixels
    are compared
      o o o o o o                     . . | . .
      o o o o o o                     . . | . .
      o o # # o o

Both are fixed in pixels and not in parts of the image, so that a raster of any size, cut in any way,
gives the same score. The edge of the raster and pixels without a label are no edges of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix


def spread(mask: Tensor, width: int) -> Tensor:
    """Return which pixels have one of the mask within ``width`` pixels, diagonals counted as one.

    Parameters
    ----------
    mask
        bool, rows x columns.
    width
        Pixels; 0 returns the mask.
    """
    if width == 0:
        return mask
    widened = F.max_pool2d(mask[None, None].float(), 2 * width + 1, stride=1, padding=width)
    return widened[0, 0] > 0


def inner_band(mask: Tensor, known: Tensor, width: int) -> Tensor:
    """Return the pixels of a class within ``width`` pixels of a known pixel of another class."""
    return mask & spread(known & ~mask, width)


class BoundaryIou:
    """Boundary IoU per class (2103.16562), for one width.

    Parameters
    ----------
    classes
        Number of classes.
    width
        Pixels; the paper takes 2 % of the image diagonal, which would depend on the cut of a raster.
    """

    def __init__(self, classes: int, width: int) -> None:
        self.width = width
        self._both: NDArray[np.int64] = np.zeros(classes, dtype=np.int64)
        self._either: NDArray[np.int64] = np.zeros(classes, dtype=np.int64)

    def add(self, truth: Tensor, mapped: Tensor, known: Tensor, core: tuple[slice, slice]) -> None:
        """Count the pixels of ``core``; the rest of the arrays is the surroundings that the scores need."""
        for code in range(len(self._both)):
            of_truth = inner_band(known & (truth == code), known, self.width)[core]
            of_map = inner_band(known & (mapped == code), known, self.width)[core]
            self._both[code] += int((of_truth & of_map).sum())
            self._either[code] += int((of_truth | of_map).sum())

    def of_class(self, code: int) -> float:
        """Return the score of one class; NaN if it has no edge."""
        return float(self._both[code] / self._either[code]) if self._either[code] else float("nan")

    @property
    def mean(self) -> float:
        """Mean over the classes that have an edge."""
        values = [self.of_class(code) for code in range(len(self._both))]
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


class TrimapScores:
    """Confusion matrix of the pixels within a width of a true edge (1802.02611, section 4.4).

    The paper widens the void label of VOC; rasters have none, so the band lies around the edges
    between true classes.
    """

    def __init__(self, classes: int, width: int) -> None:
        self.width = width
        self.matrix = ConfusionMatrix(classes)

    def add(self, truth: Tensor, mapped: Tensor, known: Tensor, core: tuple[slice, slice]) -> None:
        """Count the pixels of ``core``; the rest of the arrays is the surroundings that the scores need."""
        band = torch.zeros_like(known)
        for code in torch.unique(truth[known]).tolist():
            band |= inner_band(known & (truth == code), known, self.width)
        kept = band[core]
        self.matrix.add(truth[core][kept].numpy(), mapped[core][kept].numpy())


def largest_width(widths: Sequence[int]) -> int:
    """Return how many pixels of surroundings the scores of these widths need."""
    return max(widths, default=0)
