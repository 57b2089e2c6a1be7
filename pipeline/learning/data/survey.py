"""One pass over the scenes before training: band statistics, and where each class lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.instances import BorderedLabels
from segment_tiles.pipeline.learning.data.scenes import LabelledScene, LabelledWindow
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.validity import not_finite

CELL = 64
"""Side in pixels of the cells in which labelled pixels are counted; divides STRIP_ROWS."""


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Mean and standard deviation of each band over the valid pixels that training may see."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassCells:
    """How many labelled pixels of each class lie in each cell of a scene."""

    counts: NDArray[np.int64]
    """cells x classes; cells without a label are not listed."""
    rows: NDArray[np.int64]
    """First row of each cell."""
    columns: NDArray[np.int64]
    """First column of each cell."""
    scene: Window
    """The whole scene; the last cells are cut by it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of all training scenes."""

    statistics: BandStatistics
    cells: tuple[ClassCells, ...]
    """One per training scene."""
    pixels: tuple[int, ...]
    """Labelled pixels of each class in all training scenes."""
    white: float = 1.0
    """Value of white: the highest of an integer type, 1 of scaled values and of floating-point ones."""
    objects: int = 0
    """Objects with borders in all training scenes."""
    objects_lost: int = 0
    """Those that are border alone, so that nothing would be found of them."""


def survey_scenes(scenes: Sequence[LabelledScene], classes: int) -> Survey:
    """Read the scenes once.

    Raises
    ------
    TrainingError
        A scene has no labelled pixel, all scenes together have only one class, or a band has no value.
    """
    bands = scenes[0].source.spec.bands
    total, squares, count = np.zeros(bands), np.zeros(bands), np.zeros(bands)
    cells, objects, lost = [], 0, 0
    for scene in scenes:
        parts = []
        every, inner = _objects_of(scene)
        objects, lost = objects + every, lost + every - inner
        for strip, labelled in scene.training_strips():
            values = labelled.values[:, labelled.valid].astype(np.float64)
            # NaN and infinity are not values, as in the engine
            values[not_finite(values)] = np.nan
            total += np.nansum(values, axis=1)
            squares += np.nansum(values**2, axis=1)
            count += (~np.isnan(values)).sum(axis=1)
            parts.append(_cells_of_strip(strip, labelled, classes))
        cells.append(_joined(parts, scene))
    pixels = np.sum([c.counts.sum(axis=0) for c in cells], axis=0)
    present = np.flatnonzero(pixels)
    if len(present) < 2:
        msg = (
            f"the training scenes have labels of {len(present)} class (code {present.tolist()}); "
            "two or more are needed: check class_values, unlabelled and held_out"
        )
        raise TrainingError(msg)
    if not count.all():
        bands_at_fault = (np.flatnonzero(count == 0) + 1).tolist()
        msg = f"bands {bands_at_fault} hold no value where training may look; choose others by bands"
        raise TrainingError(msg)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    statistics = BandStatistics(tuple(mean.round(4).tolist()), tuple(std.round(4).tolist()))
    return Survey(statistics, tuple(cells), tuple(pixels.tolist()), _white_of(scenes[0]), objects, lost)


def _white_of(scene: LabelledScene) -> float:
    """Return the value of white in what training sees."""
    dtype = np.dtype(scene.spec.dtype)
    if scene.is_scaled or not np.issubdtype(dtype, np.integer):
        return 1.0
    return float(np.iinfo(dtype).max)


def _objects_of(scene: LabelledScene) -> tuple[int, int]:
    """Return how many objects a scene has, and how many of them have a pixel that is no border."""
    if not isinstance(scene.labels, BorderedLabels):
        return 0, 0
    every, inner = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for strip in scene.strips():
        here, kept = scene.labels.objects_of(strip)
        every, inner = np.union1d(every, here), np.union1d(inner, kept)
    return len(every), len(inner)


def _cells_of_strip(
    strip: Window, labelled: LabelledWindow, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count classes in cells; return counts (cells x classes), first rows, first columns."""
    cell_rows, cell_columns = -(-strip.height // CELL), -(-strip.width // CELL)
    cell = (np.arange(strip.height) // CELL)[:, None] * cell_columns + np.arange(strip.width) // CELL
    known = labelled.labels != IGNORE_CODE
    flat = cell[known] * classes + labelled.labels[known]
    counts = np.bincount(flat, minlength=cell_rows * cell_columns * classes).reshape(-1, classes)
    used = np.flatnonzero(counts.sum(axis=1))
    return (
        counts[used].astype(np.int64),
        strip.row + used // cell_columns * CELL,
        used % cell_columns * CELL,
    )


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]], scene: LabelledScene
) -> ClassCells:
    counts, rows, columns = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if not len(counts):
        msg = f"scene {scene.settings.name} has no labelled pixel outside its held_out windows"
        raise TrainingError(msg)
    return ClassCells(counts, rows, columns, scene.window)
