"""Any raster as colours that a screen can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LOW_PERCENTILE: Final = 2.0
HIGH_PERCENTILE: Final = 98.0
NODATA_GRAY: Final = 232
"""Colour of missing data: a light gray, which the stretch gives to few pixels."""


def display_rgb(
    values: NDArray[Any], valid: NDArray[np.bool_] | None = None, band_names: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Stretch a raster of any type to red, green and blue.

    Bands called red, green and blue are shown as such; else the first three, or the first alone in gray.
    Each band is stretched from its 2nd to its 98th percentile over valid, finite pixels; a band of one
    value becomes middle gray.

    Parameters
    ----------
    values
        Bands x rows x columns.
    valid
        Rows x columns, True where there is data; None: everywhere.
    band_names
        Names of the bands, if known.

    Returns
    -------
    ndarray
        Rows x columns x 3, uint8.
    """
    chosen = values[list(shown_bands(values.shape[0], band_names))].astype(np.float64)
    shown: NDArray[np.bool_] = np.asarray(np.isfinite(chosen).all(axis=0))
    if valid is not None:
        shown &= valid
    channels = [_stretch(band, shown) for band in chosen]
    rgb = np.stack(channels * (3 // len(channels)), axis=-1)
    rgb[~shown] = NODATA_GRAY
    return rgb


def shown_bands(count: int, names: Sequence[str]) -> tuple[int, ...]:
    """Return the positions of the bands that `display_rgb` shows of so many: three, or one.

    Of these alone, in this order and without names, it makes the same picture.
    """
    lower = [name.lower() for name in names]
    if all(lower.count(color) == 1 for color in ("red", "green", "blue")):
        return tuple(lower.index(color) for color in ("red", "green", "blue"))
    return (0, 1, 2) if count >= 3 else (0,)


def _stretch(band: NDArray[np.float64], shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    if not shown.any():
        return np.full(band.shape, NODATA_GRAY, np.uint8)
    low, high = np.percentile(band[shown], [LOW_PERCENTILE, HIGH_PERCENTILE])
    if low == high:
        # nearly all one value: what little differs from it decides
        low, high = band[shown].min(), band[shown].max()
    if low == high:
        return np.full(band.shape, 128, np.uint8)
    scaled = (np.where(shown, band, low) - low) / (high - low)
    gray: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return gray
