"""Positions of training windows: drawn from the number of the sample alone, so that a resume is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.learning.data.survey import CELL, ClassCells, Survey


@dataclass(frozen=True, slots=True)
class Sample:
    """The position of one training window."""

    scene: int
    """Index of the training scene."""
    row: int
    """Row of the centre."""
    column: int
    """Column of the centre."""


class WindowSampler:
    """Draws centres of training windows: a scene, a class, then a cell that holds the class.

    A class is drawn with the probability (share of its pixels) ** (1 - balance): 0 follows the area,
    1 gives every class that occurs in the scene the same chance.
    """

    def __init__(self, survey: Survey, weights: tuple[float, ...], balance: float) -> None:
        self._cells = survey.cells
        self._scene_odds = np.asarray(weights) / np.sum(weights)
        self._class_odds = [_class_odds(cells, balance) for cells in survey.cells]
        self._class_cells: dict[tuple[int, int], _CellsOfClass] = {}

    def draw(self, random: np.random.Generator) -> Sample:
        """Return the position of the next window."""
        scene = int(random.choice(len(self._cells), p=self._scene_odds))
        cells = self._cells[scene]
        label = int(random.choice(cells.counts.shape[1], p=self._class_odds[scene]))
        cell = self._cells_of(scene, label).draw(random)
        row = int(cells.rows[cell] + random.integers(CELL))
        column = int(cells.columns[cell] + random.integers(CELL))
        return Sample(scene, min(row, cells.scene.height - 1), min(column, cells.scene.width - 1))

    def _cells_of(self, scene: int, label: int) -> _CellsOfClass:
        key = (scene, label)
        if key not in self._class_cells:
            self._class_cells[key] = _CellsOfClass.of(self._cells[scene].counts[:, label])
        return self._class_cells[key]


@dataclass(frozen=True, slots=True)
class _CellsOfClass:
    """Cells of a scene that hold a class, ready to be drawn from: a search among them, however large the scene."""

    cells: NDArray[np.int64]
    """Indices into those of the scene."""
    odds_until: NDArray[np.float64]
    """Chance of each and of all before it."""

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> _CellsOfClass:
        """Count once: `Generator.choice` would do it anew for every window."""
        cells = np.flatnonzero(counts)
        until = np.cumsum(counts[cells] / counts.sum())
        return cls(cells, until / until[-1])

    def draw(self, random: np.random.Generator) -> int:
        """Return an index, as ``random.choice`` with these chances does."""
        return int(self.cells[np.searchsorted(self.odds_until, random.random(), side="right")])


def _class_odds(cells: ClassCells, balance: float) -> NDArray[np.float64]:
    """Return the chance of each class; a class that the scene lacks is never drawn."""
    share = cells.counts.sum(axis=0) / cells.counts.sum()
    odds = np.where(share > 0, np.power(share, 1 - balance, where=share > 0, out=np.zeros_like(share)), 0)
    return np.asarray(odds / odds.sum(), dtype=np.float64)
