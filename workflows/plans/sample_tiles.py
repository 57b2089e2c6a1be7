"""Real tiles of a scene, on which precisions and backends are compared."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.precision import Sample

MIDDLE_FIRST: Final = (2, 1, 3)
"""Quarters of the scene, along each side, at which tiles with data are looked for."""
TILES_AT_MOST: Final = 4
"""More say no more of a precision, and the first start waits for them."""
SCORES_AT_MOST: Final = 64 * 2**20
"""Bytes of float32 scores of all tiles: with many classes one tile has to do."""
ENOUGH_DATA: Final = 0.5
"""Share of a tile that must be valid."""


def sample_tiles(scene: Scene, source: Source) -> Sample | None:
    """Return a few real tiles with data from the scene's middle and quarters, or None if none has data."""
    import torch  # noqa: PLC0415 - slow, and the first that needs it

    from segment_tiles.pipeline.models.precision import Sample  # noqa: PLC0415

    of_one = 4 * scene.manifest.classes.count * scene.lattice.tile**2
    found = list(islice(_tiles(scene, source), max(1, min(TILES_AT_MOST, SCORES_AT_MOST // of_one))))
    if not found:
        return None
    values, valid = (np.stack(parts) for parts in zip(*found, strict=True))
    return Sample(torch.from_numpy(values), None if valid.all() else torch.from_numpy(valid))


def _tiles(scene: Scene, source: Source) -> Iterator[tuple[NDArray[np.generic], NDArray[np.bool_]]]:
    """Yield values (bands, T, T) and valid pixels (T, T) of tiles that have data, each once."""
    rows, columns, tile = scene.lattice.rows, scene.lattice.columns, scene.lattice.tile
    corners = {
        (rows.count * down // 4, columns.count * across // 4): None
        for down in MIDDLE_FIRST
        for across in MIDDLE_FIRST
    }
    for row_index, column_index in corners:
        corner = Window(rows.start(row_index), columns.start(column_index), 1, 1)
        reader = BandReader(source, scene.lattice, corner)
        band = reader.read(row_index)
        if band.values is None:
            continue
        left = columns.start(column_index) - reader.left
        span = slice(left, left + tile)
        valid = np.ones((tile, tile), bool) if band.valid is None else band.valid[:, span].copy()
        if valid.mean() >= ENOUGH_DATA:
            yield band.values[:, :, span].copy(), valid
