"""Attributes of features and of their pieces, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection


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

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Self:
        """Return the rows of an index or a mask."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def merge(self, groups: NDArray[np.int64], count: int) -> Attributes:
        """Return one row for each group 0 to count - 1: sums, smallest first pixel, any flag."""
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, groups, self.first_pixels)
        codes = np.zeros(count, dtype=np.int64)
        codes[groups] = self.codes
        return Attributes(
            codes,
            sums(self.pixels, groups, count),
            first,
            sums(self.confidence_sums, groups, count),
            np.bincount(groups, weights=self.touches_edge, minlength=count) > 0,
            np.bincount(groups, weights=self.touches_nodata, minlength=count) > 0,
        )

    @classmethod
    def concatenate(cls, tables: Sequence[Attributes]) -> Attributes:
        """Return the rows of all tables, which have the same columns, one after the other."""
        kind = type(tables[0]) if tables else cls
        return kind(*(np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(kind)))


def kept_features(
    attributes: Attributes, selection: ClassSelection, options: PolygonizeOptions
) -> NDArray[np.bool_]:
    """Return True for the whole features that no filter leaves out."""
    kept = selection.are_large_enough(attributes.codes, attributes.pixels)
    kept &= attributes.pixels >= options.minimum_area
    if options.maximum_area is not None:
        kept &= attributes.pixels <= options.maximum_area
    if options.minimum_confidence > 0:
        kept &= attributes.confidence_sums >= options.minimum_confidence * 255 * attributes.pixels
    if options.drops_edge:
        kept &= ~attributes.touches_edge
    return np.asarray(kept)


def sums(values: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the sum of the values of each group 0 to count - 1."""
    result = np.zeros(count, dtype=np.int64)
    np.add.at(result, groups, values)
    return result
