"""How much of a pyramid's Level is resampled at once, and what that takes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from segment_tiles.pipeline.sources.resampling.filters import TAPS_OF_FLOAT32

PIECE: Final = 512
"""Source pixels along a side of what is resampled at once, and those around it: bounds the values in work."""


def piece_side(factor: float) -> int:
    """Return the pixels of the result along a side of what is made at once."""
    return max(1, int(PIECE / max(1.0, factor)))


def piece_bytes(bands: int, dtype: str, factor: tuple[float, float]) -> int:
    """Return the bytes that a piece takes: all that its filter reaches, with what is missing of it, and its sums."""
    item = np.dtype(dtype).itemsize
    down, across = (piece_side(one) for one in factor)
    # the filter reaches as far as a pixel of the result on both sides
    rows, columns = (
        math.ceil((count + 1) * max(1.0, one)) + 2 for count, one in zip((down, across), factor, strict=True)
    )
    wide = (item > 2 and dtype != "float32") or max(factor) * 2 > TAPS_OF_FLOAT32
    # as read, twice without what is missing, masks; taken, weighted and summed down, and then across
    sums = 3 * (8 if wide else 4) * down * (columns + across)
    return bands * (rows * columns * (3 * item + 4) + sums)
