"""Which pixels hold data: nodata values band by band, NaN, infinity, and the all-or-any rule over bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import UsageError

LARGEST: Final = float(np.finfo(np.float32).max)
"""The network computes in float32: what does not fit into it is as little a value as infinity."""
BEYOND_TOLERANCE: Final = 1e-5
"""Relative distance at which GDAL tells any two floats apart: it takes those within 4.8e-7 for one."""


def nodata_as(dtype: str, nodata: float | None) -> float | None:
    """Return the nodata value if an array of this type can hold it, else None: it then marks nothing.

    Raises
    ------
    UsageError
        If the value cannot be a value of the raster at all, which is surely a mistake.
    """
    if nodata is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return nodata
    info = np.iinfo(kind)
    if not math.isfinite(nodata) or nodata != int(nodata) or not info.min <= nodata <= info.max:
        msg = f"--nodata is {nodata:g}, but the raster is {dtype}: give a whole number from {info.min} to {info.max}"
        raise UsageError(msg)
    return nodata


def for_bands(nodata: float | None, bands: int) -> tuple[float | None, ...]:
    """Return one nodata value for every band; empty if there is none."""
    return () if nodata is None else (nodata,) * bands


def valid_pixels(
    values: NDArray[Any],
    nodata: Sequence[float | None],
    rule: NodataRule,
    hidden: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_] | None:
    """Return the pixels that hold data: rows x columns, or None if all do.

    Parameters
    ----------
    values
        bands x rows x columns.
    nodata
        Value that marks a missing one, for each band; empty if no band has one. NaN, infinity and what is beyond
        float32 always do.
    rule
        ``all``: a pixel is missing if every band is; ``any``: if one band is. A legal 0 in one band of a scene
        whose nodata is 0 survives under ``all``.
    hidden
        bands x rows x columns: values that masks of single bands hide.
    """
    missing = _missing(values, nodata)
    if hidden is not None:
        missing = hidden if missing is None else missing | hidden
    if missing is None or not missing.any():
        return None
    invalid: NDArray[np.bool_] = np.asarray(missing.all(axis=0) if rule == "all" else missing.any(axis=0))
    return ~invalid if invalid.any() else None


def marked(values: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_] | None:
    """Return which values are missing in their band alone, also in a pixel that holds data; None if none is.

    Marked by nodata values, but for 0 and those of uint8: in one band of a picture they are as well what is darkest or
    brightest.

    Parameters
    ----------
    values
        bands x rows x columns.
    nodata
        As for `valid_pixels`.
    """
    marks = [None if value is None or math.isnan(value) or value == 0 else value for value in nodata]
    if values.dtype == np.uint8 or len(values) == 1 or all(value is None for value in marks):
        return None
    missing = np.zeros(values.shape, dtype=bool)
    for band, value in enumerate(marks):
        if value is not None:
            missing[band] = _is_nodata(values[band], value)
    return missing if missing.any() else None


def may_be_a_value(values: NDArray[Any], mark: float | None) -> NDArray[np.bool_] | None:
    """Return where one band has its nodata value, if that is as well what is darkest or brightest; None: nowhere.

    Parameters
    ----------
    values
        Of one band, rows x columns.
    mark
        Its nodata value. `marked` says which of them are values too.
    """
    if mark is None or math.isnan(mark) or (mark != 0 and values.dtype != np.uint8):
        return None
    return _is_nodata(values, mark)


def stand_in(mark: float | None, dtype: np.dtype[Any]) -> Any:
    """Return what stands in a band for a missing value: its nodata value, else NaN; of integers 0 if they lack it."""
    if dtype.kind == "f":
        return math.nan if mark is None else mark
    limits = np.iinfo(dtype)
    return int(mark) if mark is not None and limits.min <= mark <= limits.max else 0  # 0 for NaN too


def both(first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return the pixels that two masks keep; None stands for all pixels."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def not_finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which floats are NaN, infinite, or beyond what float32 holds."""
    if values.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return np.asarray(~np.isfinite(values))
    return np.asarray(~(np.abs(values) <= LARGEST))


def _missing(values: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_] | None:
    """Return bands x rows x columns of missing values; None if there can be none."""
    missing = not_finite(values) if values.dtype.kind == "f" else None
    marks = [None if value is None or math.isnan(value) else value for value in nodata]
    if all(value is None for value in marks):
        return missing
    if missing is None:
        missing = np.zeros(values.shape, dtype=bool)
    if len(set(marks)) == 1:
        return missing | _is_nodata(values, marks[0])
    for band, value in enumerate(marks):
        if value is not None:
            missing[band] |= _is_nodata(values[band], value)
    return missing


def _is_nodata(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    assert nodata is not None  # the callers have looked
    if values.dtype.kind != "f":
        return np.asarray(values == values.dtype.type(int(nodata)))
    low, high = taken_for_nodata(nodata, values.dtype.name)
    return np.asarray((values >= low) & (values <= high))


@lru_cache(maxsize=64)
def taken_for_nodata(nodata: float, dtype: str) -> tuple[float, float]:
    """Return the least and the greatest float that GDAL takes for a nodata value.

    Nodata values pass through decimal text and other types, so GDAL compares with a tolerance: ``a`` is ``b`` if
    ``|a - b| < 2 eps |a + b|``, in the type of the band and with the ``eps`` of float32 for both types. Where the
    sum overflows, as with the usual -3.4e38, everything beyond is nodata: ``ARE_REAL_EQUAL`` in ``gdal_priv.h``.

    >>> taken_for_nodata(0.0, "float32")
    (0.0, 0.0)
    """
    kind = np.dtype(dtype).type
    mark, one = kind(nodata), kind(1)
    if not np.isfinite(mark) or mark == 0:
        return float(mark), float(mark)
    beyond = kind(BEYOND_TOLERANCE)
    with np.errstate(over="ignore"):
        if np.isinf(mark + mark):
            nearer, farther = _edge(mark, kind(0)), np.copysign(np.finfo(kind).max, mark)
        else:
            nearer, farther = _edge(mark, mark * (one - beyond)), _edge(mark, mark * (one + beyond))
    return float(min(nearer, farther)), float(max(nearer, farther))


def _edge(mark: Any, outside: Any) -> Any:
    """Return the last float between ``mark`` and one that GDAL tells from it that it does not, by bisection."""
    kind = type(mark)
    eps, inside = kind(np.finfo(np.float32).eps), mark
    while True:
        middle = outside + (inside - outside) / kind(2)
        if middle in {inside, outside}:
            return inside
        if abs(middle - mark) < eps * abs(middle + mark) * kind(2):
            inside = middle
        else:
            outside = middle
