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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.sources.validity import not_finite


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
    as_gdal: bool = False,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return values and validity of the result.

    Parameters
    ----------
    values
        bands x rows x columns of the source, from ``rows.start`` and ``columns.start`` on.
    valid
        Which of these pixels hold data, rows x columns; None if all do.
    rows, columns
        What the result is made of.
    as_gdal
        A pixel holds data if any source pixel in it does, and halves are rounded up, as in GDAL; else at least half
        its weight must, and halves become even.

    Returns
    -------
    tuple
        bands x rows x columns of the same type, integers rounded; and which pixels hold data. Source pixels that hold
        none have no part in a value.
    """
    dtype = values.dtype
    work = np.dtype(np.float64 if dtype.itemsize > 2 and dtype != np.float32 else np.float32)
    masked = values if valid is None else np.where(valid, values, dtype.type(0))
    bad = not_finite(masked) if dtype.kind == "f" else None
    if bad is not None and bad.any():
        bad = bad if valid is None else bad | ~valid
        mean = _without(masked, bad, rows, columns, work, as_gdal=as_gdal)
        is_weighted = True
    else:
        mean = along(along(masked, rows, 1, work), columns, 2, work)
        is_weighted = False
    held = None
    if valid is not None:
        missing = along(along(~valid[np.newaxis], rows, 1, work), columns, 2, work)[0]
        # all weights are 0 or more: the sum is exactly 0 where no missing pixel has a part, and the value is
        # then the same as in a window that holds no missing pixel at all
        touched = missing > 0
        # of a share that is very small nothing would be left in 1 - missing
        share = (
            along(along(valid[np.newaxis], rows, 1, work), columns, 2, work)[0] if as_gdal else 1 - missing
        )
        part = np.where(touched & (share > 0), share, 1).astype(work)
        mean = np.where(touched, mean / part, mean) if not is_weighted else mean
        held = share > 0 if as_gdal else missing <= 0.5
        held = None if held.all() else held
    if dtype.kind == "f":
        return mean.astype(dtype), held
    limits = np.iinfo(dtype)
    rounded = np.floor(mean + work.type(0.5)) if as_gdal else np.rint(mean)
    return np.clip(rounded, limits.min, limits.max).astype(dtype), held


def _without(
    values: NDArray[Any],
    bad: NDArray[np.bool_],
    rows: Taps,
    columns: Taps,
    work: np.dtype[Any],
    *,
    as_gdal: bool,
) -> NDArray[Any]:
    """Return means of the values that are not bad, band by band; NaN if more than half of the weight is, or all.

    A band may lack a value where others have one (rule ``all``): 0 times infinity would be NaN all around.
    """
    kept = np.where(bad, values.dtype.type(0), values)
    mean = along(along(kept, rows, 1, work), columns, 2, work)
    missing = along(along(bad, rows, 1, work), columns, 2, work)
    share = along(along(~bad, rows, 1, work), columns, 2, work) if as_gdal else 1 - missing
    part = np.where((missing > 0) & (share > 0), share, 1).astype(work)
    found: NDArray[Any] = np.where(missing > 0, mean / part, mean)
    return np.where(share <= 0 if as_gdal else missing > 0.5, work.type(np.nan), found)


def along(values: NDArray[Any], parts: Taps, axis: int, work: np.dtype[Any]) -> NDArray[Any]:
    """Sum weighted taps along one axis of bands x rows x columns, in the order of the taps, in the type ``work``."""
    shape = list(values.shape)
    shape[axis] = parts.indices.shape[1]
    total = np.zeros(shape, dtype=work)
    spread = (slice(None), np.newaxis) if axis == 1 else (slice(None),)
    for position, weight in zip(parts.indices - parts.start, parts.weights.astype(work), strict=True):
        total += values.take(position, axis=axis) * weight[spread]
    return total
