"""Scores of a finished network on all that was held out: pixels, and objects if it has borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from segment_tiles.pipeline.learning.scores.confusion import ConfusionMatrix
from segment_tiles.pipeline.learning.scores.objects.summary import mean_over_scenes, object_summary
from segment_tiles.pipeline.learning.scores.objects.totals import ObjectTotals
from segment_tiles.pipeline.learning.training.package import score_summary
from segment_tiles.pipeline.learning.training.validation import ValidationArea, score_area, score_objects
from segment_tiles.pipeline.models.segmenter import Segmenter

TOGETHER: Final = "all held-out areas"
"""Name of the scores over all areas, if there are several."""


def final_scores(areas: Sequence[ValidationArea], segmenter: Segmenter) -> dict[str, Any]:
    """Return scores as a manifest holds them, by the name under which areas are told."""
    table = segmenter.classes
    matrices: dict[str, ConfusionMatrix] = {}
    objects: dict[str, list[ObjectTotals]] = {}
    for area in areas:
        matrices.setdefault(area.told_as, ConfusionMatrix(table.count)).merge(score_area(area, segmenter))
        found = score_objects(area, segmenter) if table.objects else None
        if found is not None:
            objects.setdefault(area.told_as, []).append(found)
    if len(matrices) > 1:
        total = ConfusionMatrix(table.count)
        for matrix in matrices.values():
            total.merge(matrix)
        matrices[TOGETHER] = total
        if objects:
            objects[TOGETHER] = [found for told in objects.values() for found in told]
    scores = {name: score_summary(matrix, table) for name, matrix in matrices.items()}
    for name, found_in in objects.items():
        scores[name][table.objects[0].name]["objects"] = _summary(found_in)
    return scores


def _summary(found: Sequence[ObjectTotals]) -> dict[str, Any]:
    return object_summary(sum(found, ObjectTotals())) | {"mean_over_scenes": mean_over_scenes(found)}
