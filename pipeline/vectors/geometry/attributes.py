"""Attributes of features and of their pieces, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is known of each feature, or piece of one, before its geometry is written."""

    codes: NDArray[np.int64]
    """Class code."""
    pixels: NDArray[np.int64]
    """Number of pixels."""
    first_pixels: NDArray[np.int64]
    """Flat, row-major index in the raster of the first pixel: the identity of the feature."""
    confidence_sums: NDArray[np.int64]
    """Sum of confidence bytes."""
    touches_edge: NDArray[np.bool_]
    """True where a pixel lies on the edge of the raster."""
    touches_nodata: NDArray[np.bool_]
    """True where a pixel shares an edge with a nodata pixel."""

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Attributes:
        """Return the rows of an index or a mask."""
        return Attributes(*(getattr(self, field.name)[index] for field in fields(self)))

    def merge(self, groups: NDArray[np.int64], count: int) -> Attributes:
        """Return one row for each group 0 to count - 1: sums, smallest first pixel, any flag."""
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, groups, self.first_pixels)
        codes = np.zeros(count, dtype=np.int64)
        codes[groups] = self.codes
        return Attributes(
            codes,
            _sums(self.pixels, groups, count),
            first,
            _sums(self.confidence_sums, groups, count),
            np.bincount(groups, weights=self.touches_edge, minlength=count) > 0,
            np.bincount(groups, weights=self.touches_nodata, minlength=count) > 0,
        )

    @classmethod
    def concatenate(cls, tables: Sequence[Attributes]) -> Attributes:
        """Return the rows of all tables one after the other."""
        return cls(*(np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(cls)))


def _sums(values: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    result = np.zeros(count, dtype=np.int64)
    np.add.at(result, groups, values)
    return result
