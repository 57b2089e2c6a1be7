"""Features across seams, divided among the tiles that are their homes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.vectors.geometry.attributes import Attributes, kept_features
from segment_tiles.pipeline.vectors.geometry.seams import JoinedFeatures
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.selection import ClassSelection
from segment_tiles.pipeline.vectors.tiling import VectorTiling


@dataclass(frozen=True, slots=True)
class JoinTask:
    """Features across seams whose first pixel lies in one tile, and the pieces that make them up."""

    tile: int
    """Number of the tile, row-major."""
    attributes: Attributes
    """One row for each feature."""
    piece_tiles: NDArray[np.int64]
    """Tile of each piece, ascending."""
    piece_labels: NDArray[np.int32]
    """Label of each piece in its tile."""
    piece_features: NDArray[np.int64]
    """Row of the feature of each piece."""

    def pieces_by_tile(self) -> list[tuple[int, slice]]:
        """Return the tiles that have pieces, ascending, and which of the pieces are theirs."""
        starts = np.flatnonzero(np.diff(self.piece_tiles, prepend=-1))
        stops = np.append(starts[1:], len(self.piece_tiles))
        return [
            (int(self.piece_tiles[start]), slice(start, stop))
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]


def join_tasks(
    tiling: VectorTiling, joined: JoinedFeatures, selection: ClassSelection, options: PolygonizeOptions
) -> list[JoinTask]:
    """Return the work of each tile that is home to features across seams, in the order of the tiles.

    Features and pieces are sorted by home once, and each task is a stretch of them: the time grows with their
    number, whatever the number of tiles.
    """
    homes = tiling.numbers_of_pixels(joined.attributes.first_pixels)
    homes[~kept_features(joined.attributes, selection, options)] = -1
    features = np.argsort(homes, kind="stable")
    row_of_feature = np.empty_like(features)
    row_of_feature[features] = np.arange(len(features))
    home_of_piece = homes[joined.piece_features]
    pieces = np.argsort(home_of_piece, kind="stable")

    numbers, starts = np.unique(homes[features], return_index=True)
    stops = np.append(starts[1:], len(features))
    piece_edges = np.searchsorted(home_of_piece[pieces], np.append(numbers, tiling.count))
    tasks = []
    for n, home in enumerate(numbers.tolist()):
        if home < 0:
            continue
        own = pieces[piece_edges[n] : piece_edges[n + 1]]
        tasks.append(
            JoinTask(
                home,
                joined.attributes.take(features[starts[n] : stops[n]]),
                joined.piece_tiles[own],
                joined.piece_labels[own],
                row_of_feature[joined.piece_features[own]] - starts[n],
            )
        )
    return tasks
