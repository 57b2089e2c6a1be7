"""Scores of a network on whole areas of scenes, mapped by the same streaming engine as a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.learning.data.instances import BorderedLabels
from segment_tiles.pipeline.learning.data.scenes import STRIP_ROWS, LabelledScene
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.scores.objects.of_map import objects_of_map, totals_of
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.models.segmenter import Segmenter

BLEND = "gaussian"
CELL_SIDE = 512
"""Pixels of a cell of an area that is scored for itself."""
HELD_AT_MOST = 64_000_000
"""Pixels of an area whose objects are scored at the end of a training; larger ones are for `evaluate`."""
BATCH = 4
"""Tiles of one forward pass."""


@dataclass(frozen=True, slots=True)
class ValidationArea:
    """A part of a scene that training never saw."""

    scene: LabelledScene
    window: Window

    @property
    def name(self) -> str:
        """Scene, and its part if it is not the whole."""
        return self.scene.name_of(self.window)

    @property
    def told_as(self) -> str:
        """Name under which its scores are told, alone or together with those of others."""
        return self.scene.settings.told_as or self.name

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return self.window.height * self.window.width

    @property
    def is_too_large_for_objects(self) -> bool:
        """Whether it has objects that are not scored at the end of a training, because they are not all held."""
        return isinstance(self.scene.labels, BorderedLabels) and self.pixels > HELD_AT_MOST

    def has_labels(self) -> bool:
        """Return whether any pixel can be scored; read in strips, up to the first that can."""
        for row in range(self.window.row, self.window.row_stop, STRIP_ROWS):
            strip = Window(row, self.window.column, STRIP_ROWS, self.window.width).intersect(self.window)
            if (self.scene.read(strip, with_held_out=True).labels != IGNORE_CODE).any():
                return True
        return False


def validation_areas(scenes: Sequence[LabelledScene]) -> list[ValidationArea]:
    """Return the held-out windows of training scenes and the whole of validation scenes."""
    areas = []
    for scene in scenes:
        if scene.settings.use == "validate":
            areas.append(ValidationArea(scene, scene.window))
        else:
            areas.extend(ValidationArea(scene, window) for window in scene.held_out)
    return areas


def mapped_rows(area: ValidationArea, segmenter: Segmenter) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Yield the class codes of an area, strip by strip, as a run would write them."""
    if segmenter.manifest.scaling.is_measured_in_scene:
        segmenter = segmenter.scaled_by(area.scene.measured(segmenter.manifest.scaling))
    manifest, whole = segmenter.manifest, area.scene.window
    overlap = manifest.overlap_of(manifest.tile)
    lattice = Lattice(whole.height, whole.width, manifest.tile, overlap)
    # of many small pictures most would be one tile and three of padding
    tiles = lattice.rows.count * lattice.columns.count
    batch = min(BATCH, tiles) if area.scene.settings.folder else BATCH
    stream = RegionStream(area.scene.source, segmenter, lattice, area.window, blend=BLEND, batch=batch)
    for rows in stream:
        yield Window(rows.row, area.window.column, *rows.classes.shape), rows.classes


def score_objects(area: ValidationArea, segmenter: Segmenter) -> ObjectTotals | None:
    """Return what was counted of the objects of one area; None if it has none or is too large to be held."""
    labels, window = area.scene.labels, area.window
    if not isinstance(labels, BorderedLabels) or area.is_too_large_for_objects:
        return None
    mapped = objects_of_map(map_of(area, segmenter), segmenter.classes)
    known = labels.read(window) != IGNORE_CODE
    return totals_of(labels.read_numbers(window), mapped, known)


def score_area(
    area: ValidationArea, segmenter: Segmenter, by_cell: dict[Window, ConfusionMatrix] | None = None
) -> ConfusionMatrix:
    """Return the confusion matrix of one area, and fill in those of its cells of `CELL_SIDE` pixels if asked to."""
    matrix = ConfusionMatrix(segmenter.classes.count)
    for window, codes in mapped_rows(area, segmenter):
        labels = area.scene.labels.read(window)
        matrix.add(labels, codes)
        if by_cell is not None:
            for cell in cells_of(area.window, window):
                part = cell.intersect(window).relative_to(window).slices()
                by_cell.setdefault(cell, ConfusionMatrix(matrix.classes)).add(labels[part], codes[part])
    return matrix


def cells_of(area: Window, rows: Window) -> Iterator[Window]:
    """Yield the cells of `CELL_SIDE` pixels of an area that some of its rows reach into."""
    first = area.row + (rows.row - area.row) // CELL_SIDE * CELL_SIDE
    for row in range(first, rows.row_stop, CELL_SIDE):
        for column in range(area.column, area.column_stop, CELL_SIDE):
            yield Window(row, column, CELL_SIDE, CELL_SIDE).intersect(area)


def worth_showing(areas: Sequence[ValidationArea], largest: int) -> list[ValidationArea]:
    """Return the areas that are more than a strip at an edge: a quarter of a cell, or of what they are parts of.

    Parameters
    ----------
    areas
        Parts of something.
    largest
        Pixels of what they are parts of; a scene that is shown whole says all it can.
    """
    least = min(CELL_SIDE**2, largest) / 4
    return [area for area in areas if area.pixels >= least or area.window == area.scene.window]


def map_of(area: ValidationArea, segmenter: Segmenter) -> NDArray[np.uint8]:
    """Return the class codes of a small area as one array, for a picture."""
    return np.concatenate([codes for _, codes in mapped_rows(area, segmenter)]).astype(np.uint8)
