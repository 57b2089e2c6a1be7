r"""Resampling with antialiasing that does not depend on what is asked for.

The grid of the result is anchored at the corner of the raster: pixel ``i`` covers ``[i f, (i + 1) f)`` of the
source, ``f`` source pixels wide. Its value is the mean under a triangle as wide as two pixels of the result
(``max(1, f)`` to either side of its centre, the antialiased bilinear filter of Pillow and torchvision)::

          ______/\______        weights of pixel i
    |--i-1--|---i---|--i+1--|

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
    weights[(position < 0) | (position >= size)] = 0.0
    total = np.zeros_like(centre)
    for tap in weights:  # one after the other: the sum must not depend on how many pixels there are
        total += tap
    return Taps(np.clip(position, 0, size - 1), weights / total)


def resampled(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, rows: Taps, columns: Taps
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

    Returns
    -------
    tuple
        bands x rows x columns of the same type, integers rounded; and which pixels hold data: those with
        at least half their weight on source pixels that do. Others have no part in a value.
    """
    dtype = values.dtype
    work = np.dtype(np.float64 if dtype.itemsize > 2 and dtype != np.float32 else np.float32)
    masked = values if valid is None else np.where(valid, values, dtype.type(0))
    bad = not_finite(masked) if dtype.kind == "f" else None
    if bad is not None and bad.any():
        mean = _without(masked, bad if valid is None else bad | ~valid, rows, columns, work)
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
        share = np.where(touched & (missing < 1), 1 - missing, 1).astype(work)
        mean = np.where(touched, mean / share, mean) if not is_weighted else mean
        held = missing <= 0.5
        held = None if held.all() else held
    if dtype.kind == "f":
        return mean.astype(dtype), held
    limits = np.iinfo(dtype)
    return np.clip(np.rint(mean), limits.min, limits.max).astype(dtype), held


def _without(
    values: NDArray[Any], bad: NDArray[np.bool_], rows: Taps, columns: Taps, work: np.dtype[Any]
) -> NDArray[Any]:
    """Return means of the values that are not bad, band by band; NaN if more than half of the weight is.

    A band may lack a value where others have one (rule ``all``): 0 times infinity would be NaN all around.
    """
    kept = np.where(bad, values.dtype.type(0), values)
    mean = along(along(kept, rows, 1, work), columns, 2, work)
    missing = along(along(bad, rows, 1, work), columns, 2, work)
    share = np.where((missing > 0) & (missing < 1), 1 - missing, 1).astype(work)
    found: NDArray[Any] = np.where(missing > 0, mean / share, mean)
    return np.where(missing > 0.5, work.type(np.nan), found)


def along(values: NDArray[Any], parts: Taps, axis: int, work: np.dtype[Any]) -> NDArray[Any]:
    """Sum weighted taps along one axis of bands x rows x columns, in the order of the taps, in the type ``work``."""
    shape = list(values.shape)
    shape[axis] = parts.indices.shape[1]
    total = np.zeros(shape, dtype=work)
    spread = (slice(None), np.newaxis) if axis == 1 else (slice(None),)
    for position, weight in zip(parts.indices - parts.start, parts.weights.astype(work), strict=True):
        total += values.take(position, axis=axis) * weight[spread]
    return total
