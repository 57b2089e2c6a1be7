"""Which pixels hold data: the nodata value, NaN, and the all-or-any rule over bands."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.sources.protocol import NodataRule


def parse_nodata_rule(value: str) -> NodataRule:
    """Return a known rule.

    Raises
    ------
    UsageError
        Where the rule is not known.
    """
    if value == "all":
        return "all"
    if value == "any":
        return "any"
    msg = f"--nodata-rule is {value!r}; it must be one of {', '.join(get_args(NodataRule))}"
    raise UsageError(msg)


def nodata_as(dtype: str, nodata: float | None) -> float | None:
    """Return the nodata value if an array of this type can hold it, else None: it then marks nothing.

    Raises
    ------
    UsageError
        Where the value cannot be a value of the raster at all, which is surely a mistake.
    """
    if nodata is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return nodata
    info = np.iinfo(kind)
    if math.isnan(nodata) or nodata != int(nodata) or not info.min <= nodata <= info.max:
        msg = f"--nodata is {nodata:g}, but the raster is {dtype}: give a whole number from {info.min} to {info.max}"
        raise UsageError(msg)
    return nodata


def valid_pixels(values: NDArray[Any], nodata: float | None, rule: NodataRule) -> NDArray[np.bool_] | None:
    """Return the pixels that hold data: rows x columns, or None where all do.

    Parameters
    ----------
    values
        bands x rows x columns.
    nodata
        Value that marks a missing one; NaN always does.
    rule
        ``all``: a pixel is missing where every band is; ``any``: where one band is. A legal 0 in one
        band of a scene whose nodata is 0 survives under ``all``.
    """
    missing: NDArray[np.bool_] | None = None
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    if nodata is not None and not math.isnan(nodata):
        equal = values == values.dtype.type(nodata)
        missing = equal if missing is None else missing | equal
    if missing is None or not missing.any():
        return None
    invalid: NDArray[np.bool_] = np.asarray(missing.all(axis=0) if rule == "all" else missing.any(axis=0))
    return ~invalid if invalid.any() else None


def both(first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return the pixels that two masks keep; None stands for all pixels."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
