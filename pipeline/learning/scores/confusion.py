"""The confusion matrix, added up over any number of pixels, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class; NaN if the class is neither in the truth nor in the map."""

    iou: float
    dice: float
    precision: float
    recall: float
    truth_pixels: int
    mapped_pixels: int


class ConfusionMatrix:
    """Counts of (true class, mapped class) over pixels that have both.

    >>> matrix = ConfusionMatrix(2)
    >>> matrix.add(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1]))
    >>> matrix.counts.tolist(), round(matrix.mean_iou, 3)
    ([[1, 1], [0, 1]], 0.5)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), dtype=np.int64)
        """true class x mapped class, pixels."""

    def add(self, truth: NDArray[np.integer], mapped: NDArray[np.integer]) -> None:
        """Count pixels; codes that are no class in either array (ignore, nodata) are left out."""
        known = (truth < self.classes) & (mapped < self.classes)
        pairs = truth[known].astype(np.int64) * self.classes + mapped[known]
        size = self.classes**2
        self.counts += np.bincount(pairs, minlength=size).reshape(self.classes, self.classes)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another part."""
        self.counts += other.counts

    @property
    def pixels(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of pixels whose class is right."""
        return float(np.trace(self.counts) / self.pixels) if self.pixels else float("nan")

    def of_class(self, code: int) -> ClassScores:
        """Return the scores of one class."""
        hit = int(self.counts[code, code])
        truth, mapped = int(self.counts[code].sum()), int(self.counts[:, code].sum())
        return ClassScores(
            iou=_ratio(hit, truth + mapped - hit),
            dice=_ratio(2 * hit, truth + mapped),
            precision=_ratio(hit, mapped),
            recall=_ratio(hit, truth),
            truth_pixels=truth,
            mapped_pixels=mapped,
        )

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes that occur in truth or map; NaN if nothing was counted."""
        values = np.array([self.of_class(code).iou for code in range(self.classes)])
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
