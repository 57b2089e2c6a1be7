"""How far confidence can be believed: expected calibration error from confidence bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width (1706.04599; the default of torchmetrics)."""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Pixels whose confidence lies in one bin."""

    confidence: float
    """Their mean confidence."""
    accuracy: float
    """Share of them whose class is right."""
    pixels: int


class Calibration:
    """Counts right and wrong pixels for each of the 256 values of a confidence byte."""

    def __init__(self) -> None:
        self._right: NDArray[np.int64] = np.zeros(256, dtype=np.int64)
        self._all: NDArray[np.int64] = np.zeros(256, dtype=np.int64)

    def add(self, confidence: NDArray[np.uint8], right: NDArray[np.bool_]) -> None:
        """Count pixels: confidence bytes (255 = certain) and whether the class is right."""
        self._all += np.bincount(confidence, minlength=256)
        self._right += np.bincount(confidence[right], minlength=256)

    def bins(self) -> list[CalibrationBin]:
        """Return the bins that hold pixels."""
        share = np.arange(256) / 255
        number = np.minimum((share * BINS).astype(int), BINS - 1)
        found = []
        for index in range(BINS):
            members = number == index
            pixels = int(self._all[members].sum())
            if pixels:
                mean = float((share * self._all)[members].sum() / pixels)
                found.append(CalibrationBin(mean, float(self._right[members].sum() / pixels), pixels))
        return found

    @property
    def error(self) -> float:
        """Mean distance of confidence and accuracy over the bins, by pixels; NaN without pixels."""
        total = int(self._all.sum())
        if not total:
            return float("nan")
        return sum(b.pixels * abs(b.confidence - b.accuracy) for b in self.bins()) / total
