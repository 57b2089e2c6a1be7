"""Real tiles of a scene, on which precisions and backends are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Positions:
    """Which tiles of a scene are taken, if they have data."""

    parts: int
    """Into so many each side of the scene is divided."""
    ends: tuple[int, ...]
    """Ends of parts, along each side, at which tiles are looked for; the first come first."""
    at_most: int
    """Tiles."""
    bytes_at_most: int
    """Of their float32 images, or scores if those are larger: if a tile has many, one tile has to do."""

    def for_one_of(self, scenes: int) -> Positions:
        """Return those of one of several scenes, each of which gives as many."""
        return replace(
            self, at_most=-(-self.at_most // scenes), bytes_at_most=-(-self.bytes_at_most // scenes)
        )


JUDGED: Final = Positions(4, (2, 1, 3), 4, 64 * 2**20)
"""On which precisions are compared: more say no more, and the first start waits for them."""
CALIBRATED: Final = Positions(8, (3, 5, 1, 7), 16, 256 * 2**20)
"""On which int8 is calibrated: others than those on which it is judged, if the scene is large enough."""
ENOUGH_DATA: Final = 0.5
"""Share of a tile that must be valid."""


def sample_tiles(scene: Scene, source: Source, positions: Positions = JUDGED) -> Sample | None:
    """Return a few real tiles with data, or None if none has data."""
    import torch  # noqa: PLC0415 - slow, and the first that needs it

    from segment_tiles.pipeline.models.precision import Sample  # noqa: PLC0415

    of_one = 4 * max(scene.manifest.classes.count, scene.spec.bands) * scene.lattice.tile**2
    count = max(1, min(positions.at_most, positions.bytes_at_most // of_one))
    found = list(islice(_tiles(scene, source, positions), count))
    if not found:
        return None
    values, valid = (np.stack(parts) for parts in zip(*found, strict=True))
    return Sample(torch.from_numpy(values), None if valid.all() else torch.from_numpy(valid))


def _tiles(
    scene: Scene, source: Source, positions: Positions
) -> Iterator[tuple[NDArray[np.generic], NDArray[np.bool_]]]:
    """Yield values (bands, T, T) and which of them count, of the same shape, of tiles that have data, each once."""
    rows, columns, tile = scene.lattice.rows, scene.lattice.columns, scene.lattice.tile
    corners = {
        (rows.count * down // positions.parts, columns.count * across // positions.parts): None
        for down in positions.ends
        for across in positions.ends
    }
    for row_index, column_index in corners:
        corner = Window(rows.first(row_index), columns.first(column_index), 1, 1)
        reader = BandReader(source, scene.lattice, corner)
        band = reader.read(row_index)
        if band.values is None:
            continue
        left = columns.start(column_index) - reader.left
        span = slice(left, left + tile)
        values, counted = band.values[:, :, span].copy(), band.shown(span)
        counted = np.ones(values.shape, bool) if counted is None else np.broadcast_to(counted, values.shape)
        if counted.any(axis=0).mean() >= ENOUGH_DATA:
            yield values, counted
