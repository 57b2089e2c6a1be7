r"""Resampling with antialiasing that does not depend on what is asked for.

The grid of the result is anchored at the corner of the raster: pixel ``i`` covers ``[i f, (i + 1) f)`` of the
source, ``f`` source pixels wide. Its value is the mean under a triangle as wide as two pixels of the result
(``max(1, f)`` to either side of its centre, the antialiased bilinear filter of Pillow and torchvision)::

          ______/\______        weights of pixel i
    |--i-1--|---i---|--i+1--|

A raster on the ground becomes coarser by the mean of the area instead, as GDAL's ``average`` does::

    |--i-1--|--------|--i+1--|      all of pixel i alike, what lies on its edge by the share that is inside

Every value is summed over the same taps in the same order with the same arithmetic, whatever window it is
part of, so neighbouring windows meet without a seam and the laws of the engine hold (decision 0041).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.sources.validity import not_finite, stand_in

TAPS_OF_FLOAT32: Final = 64
"""Along one side: sums of more are made in float64, or constants would not stay what they are."""


@dataclass(frozen=True, slots=True)
class Taps:
    """Source pixels and their weights, for a run of pixels of the result along one side."""

    indices: NDArray[np.intp]
    """taps x pixels: positions in the source, inside it."""
    weights: NDArray[np.float64]
    """taps x pixels: sum to 1 over the taps; 0 where the tap lies outside the source."""

    @property
    def start(self) -> int:
        """First source pixel that is needed."""
        return int(self.indices.min())

    @property
    def stop(self) -> int:
        """Source pixel after the last that is needed."""
        return int(self.indices.max()) + 1


def taps(start: int, stop: int, factor: float, size: int, origin: float = 0.0) -> Taps:
    """Return what pixels [start, stop) of the result are made of.

    Parameters
    ----------
    start, stop
        Half-open interval of the result.
    factor
        Source pixels per pixel of the result; below 1 the result is finer, below 0 it counts the other way.
    size
        Pixels along this side of the source.
    origin
        Where pixel 0 of the result begins, in pixels of the source.

    >>> taps(0, 2, 2.0, 4).weights.sum(axis=0).tolist()
    [1.0, 1.0]
    """
    reach = max(1.0, abs(factor))
    centre = origin + (np.arange(start, stop) + 0.5) * factor - 0.5
    first = np.floor(centre - reach).astype(np.intp) + 1
    position = first + np.arange(int(np.ceil(2 * reach)))[:, np.newaxis]
    weights = np.maximum(0.0, 1 - np.abs(position - centre) / reach)
    return _normalized(position, weights, size)


def _normalized(position: NDArray[np.intp], weights: NDArray[np.float64], size: int) -> Taps:
    """Return taps inside the source whose weights sum to 1."""
    weights[(position < 0) | (position >= size)] = 0.0
    total = np.zeros(weights.shape[1])
    for tap in weights:  # one after the other: the sum must not depend on how many pixels there are
        total += tap
    return Taps(np.clip(position, 0, size - 1), weights / total)


def area_taps(start: int, stop: int, factor: float, size: int) -> Taps:
    """Return what pixels [start, stop) of the result are made of: means of areas, or bilinear if it is finer.

    Parameters as of `taps`. The last pixel may reach over the edge of the source; at least a part of it lies inside.

    >>> area_taps(0, 2, 1.5, 3).weights.round(2).tolist()
    [[0.67, 0.33], [0.33, 0.67], [0.0, 0.0]]
    """
    if factor <= 1:
        return taps(start, stop, factor, size)
    edges = np.arange(start, stop + 1) * factor
    first = np.floor(edges[:-1]).astype(np.intp)
    position = first + np.arange(int(np.ceil(factor)) + 1)[:, np.newaxis]
    weights = np.minimum(position + 1, edges[1:]) - np.maximum(position, edges[:-1])
    return _normalized(position, np.maximum(0.0, weights), size)


def resampled(
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    rows: Taps,
    columns: Taps,
    *,
    missing: NDArray[np.bool_] | None = None,
    marks: Sequence[float | None] = (),
    as_gdal: bool = False,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Return values and validity of the result, and what single bands lack.

    Parameters
    ----------
    values
        bands x rows x columns of the source, from ``rows.start`` and ``columns.start`` on.
    valid
        Which of these pixels hold data, rows x columns; None if all do.
    rows, columns
        What the result is made of.
    missing
        bands x rows x columns: values of single bands that are missing, also in pixels that hold data; None: none but
        NaN and infinity.
    marks
        What stands in each band for a value that is missing; None and nothing: NaN, of integers 0.
    as_gdal
        A pixel holds data if any source pixel in it does, and halves are rounded up, as in GDAL; else at least half
        its weight must, and halves become even.

    Returns
    -------
    tuple
        bands x rows x columns of the same type, integers rounded; which pixels hold data; and which values of pixels
        that hold data are missing, bands x rows x columns, None if none is. Source pixels that hold none, and values
        that are missing, have no part in a value.
    """
    work = work_type(values.dtype, rows, columns)
    masked = values if valid is None else np.where(valid, values, values.dtype.type(0))
    share, held = None, None
    if valid is not None:
        share = _Share.of(~valid[np.newaxis], rows, columns, work, as_gdal=as_gdal)
        held = None if (found := ~share.is_gone[0]).all() else found
    lacking = _lacking(masked, valid, missing)
    if lacking is None:
        mean = along(along(masked, rows, 1, work), columns, 2, work)
        mean = mean if share is None else share.applied(mean)
        return _typed(mean, values.dtype, as_gdal=as_gdal), held, None
    kept = np.where(lacking, values.dtype.type(0), masked)
    mean = along(along(kept, rows, 1, work), columns, 2, work)
    # a band may lack a value where others have one (rule all): 0 times infinity would be NaN all around
    of_bands = _Share.of(lacking if valid is None else lacking | ~valid, rows, columns, work, as_gdal=as_gdal)
    found_values = _typed(of_bands.applied(mean), values.dtype, as_gdal=as_gdal)
    gone = of_bands.is_gone if held is None else of_bands.is_gone & held
    for band, (value, is_gone) in enumerate(zip(found_values, gone, strict=True)):
        value[is_gone] = stand_in(marks[band] if marks else None, values.dtype)
    return found_values, held, gone if gone.any() else None


def work_type(dtype: np.dtype[Any], rows: Taps, columns: Taps) -> np.dtype[Any]:
    """Return the type of sums: a small one, unless it would round away what many taps add up."""
    is_wide = dtype.itemsize > 2 and dtype != np.float32
    many = max(len(rows.indices), len(columns.indices)) > TAPS_OF_FLOAT32
    return np.dtype(np.float64 if is_wide or many else np.float32)


def _lacking(
    masked: NDArray[Any], valid: NDArray[np.bool_] | None, missing: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return bands x rows x columns of values that are missing in pixels that hold data; None if there are none."""
    found = not_finite(masked) if masked.dtype.kind == "f" else None
    if missing is not None:
        inside = missing if valid is None else missing & valid
        found = inside if found is None else found | inside
    return found if found is not None and found.any() else None


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of the weight of a value lies on what holds data."""

    touched: NDArray[np.bool_]
    """Whether a missing pixel has a part."""
    part: NDArray[Any]
    """By which the sum of the others is to be divided."""
    is_gone: NDArray[np.bool_]
    """Whether too little holds data."""

    @classmethod
    def of(
        cls, missing: NDArray[np.bool_], rows: Taps, columns: Taps, work: np.dtype[Any], *, as_gdal: bool
    ) -> _Share:
        lost = along(along(missing, rows, 1, work), columns, 2, work)
        # all weights are 0 or more: the sum is exactly 0 where no missing pixel has a part, and the value is
        # then the same as in a window that holds no missing pixel at all
        touched = lost > 0
        # of a share that is very small nothing would be left in 1 - lost
        share = along(along(~missing, rows, 1, work), columns, 2, work) if as_gdal else 1 - lost
        part = np.where(touched & (share > 0), share, 1).astype(work)
        return cls(touched, part, share <= 0 if as_gdal else lost > 0.5)

    def applied(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Return means of what holds data."""
        return np.where(self.touched, mean / self.part, mean)


def _typed(mean: NDArray[Any], dtype: np.dtype[Any], *, as_gdal: bool) -> NDArray[Any]:
    if dtype.kind == "f":
        return mean.astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.floor(mean + mean.dtype.type(0.5)) if as_gdal else np.rint(mean)
    clipped: NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(dtype)
    return clipped


def along(values: NDArray[Any], parts: Taps, axis: int, work: np.dtype[Any]) -> NDArray[Any]:
    """Sum weighted taps along one axis of bands x rows x columns, in the order of the taps, in the type ``work``."""
    shape = list(values.shape)
    shape[axis] = parts.indices.shape[1]
    total = np.zeros(shape, dtype=work)
    spread = (slice(None), np.newaxis) if axis == 1 else (slice(None),)
    for position, weight in zip(parts.indices - parts.start, parts.weights.astype(work), strict=True):
        total += values.take(position, axis=axis) * weight[spread]
    return total
