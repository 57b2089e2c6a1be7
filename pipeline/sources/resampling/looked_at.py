"""Pixels of all of a source, few enough to be looked at before it is read: for statistics of a scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.of_bands import (
    Mask,
    lacking_alone,
    missing_of,
    shown,
    thumbnail_of_bands,
)
from segment_tiles.pipeline.sources.protocol import Source, reductions_of

SIDE_LOOKED_AT: Final = 1024
"""Rows and columns of the decimated scene that is measured."""
DECODED_AT_MOST: Final = 4096 * 4096
"""Pixels that are decoded for it; of a larger scene without overviews, pieces are measured."""
PIECES: Final = 16
"""Along each side."""
PIECE_SIDE: Final = 128
"""Rows and columns of a piece."""

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values, bands x pixels, and which of them count: 1 or bands x pixels."""


def pixels_of(source: Source) -> Iterator[Pixels]:
    """Yield pixels of all of a source: decimated, or pieces if to decimate it would be to decode a large file."""
    spec = source.spec
    shape = min(spec.height, SIDE_LOOKED_AT), min(spec.width, SIDE_LOOKED_AT)
    step = min(spec.height / shape[0], spec.width / shape[1])
    finest = max((reduction for reduction in reductions_of(source) if reduction <= step), default=1.0)
    if spec.height * spec.width / finest**2 <= DECODED_AT_MOST:
        yield _flat(*thumbnail_of_bands(source, spec.window, shape))
        return
    for window in _pieces(spec.height, spec.width):
        values = source.read(window)
        yield _flat(values, source.valid(window, values), missing_of(source, window, values))


def _pieces(height: int, width: int) -> Iterator[Window]:
    rows, columns = (
        sorted({max(0, side - PIECE_SIDE) * n // (PIECES - 1) for n in range(PIECES)})
        for side in (height, width)
    )
    for row in rows:
        for column in columns:
            yield Window(row, column, PIECE_SIDE, PIECE_SIDE).intersect(Window(0, 0, height, width))


def _flat(values: NDArray[Any], valid: Mask | None, missing: Mask | None) -> Pixels:
    flat, counted = values.reshape(len(values), -1), shown(valid, lacking_alone(missing, valid))
    return flat, np.ones((1, flat.shape[1]), bool) if counted is None else counted.reshape(len(counted), -1)


def together(parts: Sequence[Pixels]) -> Pixels:
    """Return the pixels of all parts."""
    bands = max(len(mask) for _, mask in parts)
    masks = [np.broadcast_to(mask, (bands, mask.shape[1])) for _, mask in parts]
    return np.concatenate([values for values, _ in parts], axis=1), np.concatenate(masks, axis=1)
