"""Values that single bands lack where others have some: the network is not shown what stands for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.protocol import Source, TellsBands
from segment_tiles.pipeline.sources.validity import marked

Mask = NDArray[np.bool_]


def missing_of(source: Source, window: Window, values: NDArray[Any]) -> Mask | None:
    """Return which values of a window are missing: bands x rows x columns; None if none is.

    Parameters
    ----------
    source, window, values
        What ``read`` of the source returned for the window.
    """
    if isinstance(source, TellsBands):
        return source.missing(window, values)
    return marked(values, source.spec.nodata)


def lacking_alone(missing: Mask | None, valid: Mask | None) -> Mask | None:
    """Return which values are missing in pixels that hold data; None if none is.

    Parameters
    ----------
    missing
        bands x rows x columns; None: no value is missing.
    valid
        rows x columns; None: all pixels hold data.
    """
    if missing is None:
        return None
    alone = missing if valid is None else missing & valid
    return alone if alone.any() else None


def shown(valid: Mask | None, lacking: Mask | None) -> Mask | None:
    """Return which values the network sees as they are: 1 or bands x rows x columns; None: all.

    Parameters
    ----------
    valid
        rows x columns: pixels that hold data; None: all do.
    lacking
        As `lacking_alone` returns it.
    """
    if lacking is None:
        return None if valid is None else valid[np.newaxis]
    return ~lacking if valid is None else valid & ~lacking


def thumbnail_of_bands(
    source: Source, window: Window, shape: tuple[int, int]
) -> tuple[NDArray[Any], Mask | None, Mask | None]:
    """Return what ``thumbnail`` of a source does, and which values are missing: bands x rows x columns; None: none."""
    if isinstance(source, TellsBands):
        return source.thumbnail_of_bands(window, shape)
    values, valid = source.thumbnail(window, shape)
    return values, valid, marked(values, source.spec.nodata)
