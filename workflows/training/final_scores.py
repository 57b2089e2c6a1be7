"""Scores of a finished network on all that was held out: pixels, and objects if it has borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.scores.objects.summary import mean_over_scenes, object_summary
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.training.package import score_summary
from segment_tiles.pipeline.learning.training.validation import (
    ValidationArea,
    score_area,
    score_objects,
    worth_showing,
)
from segment_tiles.pipeline.models.packages.card import TOGETHER
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.workflows.training.notes import notes_on_large_areas

WORST_SHOWN: Final = 6
"""Cells of held-out areas that the page of a training shows, those with the lowest mean IoU."""


@dataclass(frozen=True, slots=True)
class FinalScores:
    """What a finished network does on all that was held out."""

    told: dict[str, Any]
    """Scores as a manifest holds them, by the name under which areas are told."""
    total: ConfusionMatrix
    """Of all areas."""
    worst: list[tuple[float, ValidationArea]]
    """Mean IoU of the worst cells of all areas, the worst first; strips at an edge are none of them."""
    notes: tuple[str, ...] = ()
    """What was not scored."""


def final_scores(areas: Sequence[ValidationArea], segmenter: Segmenter) -> FinalScores:
    """Score a finished network."""
    table = segmenter.classes
    cells: list[tuple[float, ValidationArea]] = []
    matrices: dict[str, ConfusionMatrix] = {}
    objects: dict[str, list[ObjectTotals]] = {}
    for area in areas:
        matrices.setdefault(area.told_as, ConfusionMatrix(table.count)).merge(
            score_area(area, segmenter, by_cell := dict[Window, ConfusionMatrix]())
        )
        parts = [replace(area, window=cell) for cell, matrix in by_cell.items() if matrix.pixels]
        cells += [(by_cell[part.window].mean_iou, part) for part in worth_showing(parts, area.pixels)]
        found = score_objects(area, segmenter) if table.objects else None
        if found is not None:
            objects.setdefault(area.told_as, []).append(found)
    total = ConfusionMatrix(table.count)
    for matrix in matrices.values():
        total.merge(matrix)
    if len(matrices) > 1:
        matrices[TOGETHER] = total
        if objects:
            objects[TOGETHER] = [found for told in objects.values() for found in told]
    scores = {name: score_summary(matrix, table) for name, matrix in matrices.items()}
    for name, found_in in objects.items():
        scores[name][table.objects[0].name]["objects"] = _summary(found_in)
    worst = sorted(cells, key=lambda entry: entry[0])[:WORST_SHOWN]
    return FinalScores(scores, total, worst, tuple(notes_on_large_areas(areas)))


def _summary(found: Sequence[ObjectTotals]) -> dict[str, Any]:
    return object_summary(sum(found, ObjectTotals())) | {"mean_over_scenes": mean_over_scenes(found)}
