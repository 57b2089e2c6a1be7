r"""How far neighbouring tiles disagree about the pixels that both of them see, before they are blended.

::

            tile j             tile j + 1
    |-------------------|
                   |/////-------------------|      ///  seen by both: the same class, the same scores?

Blending hides a disagreement: it averages two answers of which one or both are wrong. Tiles disagree because of what
each cannot see beyond its edge, and because of image pooling over the whole tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.bands import BandReader, InputBand
from segment_tiles.pipeline.inference.stream import TileScorer
from segment_tiles.pipeline.sources.protocol import Source

BATCH = 4
"""Tiles of one forward pass."""


@dataclass(slots=True)
class SeamDisagreement:
    """Counts over the overlaps of tiles that lie side by side or one above the other.

    A pixel counts once for each such pair of tiles that sees it.
    """

    pixels: int = 0
    """Pixels compared."""
    differing: int = 0
    """Pixels to which the two tiles give different classes."""
    difference: float = 0.0
    """Sum over the pixels of the mean absolute difference of the class scores."""

    @property
    def class_share(self) -> float:
        """Share of the pixels whose classes differ; NaN if no tiles overlap."""
        return self.differing / self.pixels if self.pixels else float("nan")

    @property
    def score_difference(self) -> float:
        """Mean absolute difference of a class score, 0 to 1; NaN if no tiles overlap."""
        return self.difference / self.pixels if self.pixels else float("nan")

    def add(self, first: Tensor, second: Tensor, counted: Tensor) -> None:
        """Compare scores of two tiles, classes x rows x columns, where ``counted`` (rows x columns) is true."""
        self.pixels += int(counted.sum())
        self.differing += int(((first.argmax(0) != second.argmax(0)) & counted).sum())
        self.difference += float((first - second).abs().mean(0)[counted].double().sum())


def measure_seams(source: Source, scorer: TileScorer, lattice: Lattice, region: Window) -> SeamDisagreement:
    """Compare every two neighbouring tiles of a region on the pixels that both see.

    Memory grows with the width of the region, not with its height.

    Parameters
    ----------
    source
        What is read.
    scorer
        What computes.
    lattice
        The grid of tiles.
    region
        Pixels outside it are not counted.
    """
    result = SeamDisagreement()
    overlap, stride = lattice.shared, lattice.rows.stride
    above: dict[int, Tensor] = {}
    for band in BandReader(source, lattice, region).read_ahead():
        left: Tensor | None = None
        last_index = -1
        below: dict[int, Tensor] = {}
        for index, scores in _scores_of_row(band, scorer, lattice, region):
            pixels = lattice.tile_at(band.row_index, index).scores
            counted = _counted(band, lattice, region, pixels)
            if left is not None and last_index == index - 1:
                result.add(left, scores[..., :overlap], counted[:, :overlap])
            if index in above:
                result.add(above[index], scores[:, :overlap], counted[:overlap])
            left, last_index = scores[..., stride:], index
            below[index] = scores[:, stride:].clone()
        above = below
    return result


def _scores_of_row(
    band: InputBand, scorer: TileScorer, lattice: Lattice, region: Window
) -> Iterator[tuple[int, Tensor]]:
    """Yield index and scores (classes x T x T) of each tile of a row that has any pixel to compute."""
    if band.values is None:
        return
    columns = lattice.columns
    indices = columns.covering(region.column, region.column_stop)
    starts = {index: columns.start(index) - columns.start(indices[0]) for index in indices}
    wanted = [index for index in indices if band.is_wanted(starts[index], lattice.scored)]
    for first in range(0, len(wanted), BATCH):
        chosen = wanted[first : first + BATCH]
        cuts = [slice(starts[index], starts[index] + lattice.tile) for index in chosen]
        values = torch.stack([torch.from_numpy(band.values[..., cut]) for cut in cuts])
        valid = band.valid
        masks = None if valid is None else torch.stack([torch.from_numpy(valid[:, cut]) for cut in cuts])
        yield from zip(chosen, scorer.scores(values, masks).cpu(), strict=True)


def _counted(band: InputBand, lattice: Lattice, region: Window, pixels: Window) -> Tensor:
    """Return which pixels that a tile gives scores for hold data and lie in the region, bool."""
    counted = torch.zeros(pixels.shape, dtype=torch.bool)
    inside = pixels.intersect(region)
    counted[inside.relative_to(pixels).slices()] = True
    if band.wanted is not None:
        first = lattice.columns.covering(region.column, region.column_stop)[0]
        start = pixels.column - lattice.columns.first(first)
        counted &= torch.from_numpy(band.wanted[:, start : start + lattice.scored].copy())
    return counted
