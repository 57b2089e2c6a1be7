"""Scores of objects as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from segment_tiles.pipeline.learning.scores.objects.totals import PERCENTS, ObjectTotals


def object_summary(total: ObjectTotals) -> dict[str, Any]:
    """Return all scores of one class as JSON values; None if one is not defined."""
    return {
        "true_objects": total.true,
        "mapped_objects": total.mapped[0],
        "count_error": total.count_error,
        "precision": _number(total.precision),
        "recall": _number(total.recall),
        "f1": _number(total.f1[0]),
        "mean_f1": _number(total.mean_f1),
        "f1_by_iou": {
            f"{percent / 100:.2f}": _number(f1) for percent, f1 in zip(PERCENTS, total.f1, strict=True)
        },
        "panoptic_quality": _number(total.panoptic_quality),
        "segmentation_quality": _number(total.segmentation_quality),
        "recognition_quality": _number(total.recognition_quality),
        "aggregated_jaccard": _number(total.aggregated_jaccard),
        "dice": _number(total.dice),
    }


def mean_over_scenes(totals: Sequence[ObjectTotals]) -> dict[str, Any]:
    """Return means of the scenes that have any object, true or mapped."""
    given = [total for total in totals if total.true or any(total.mapped)]
    means = {
        "f1": [t.f1[0] for t in given],
        "mean_f1": [t.mean_f1 for t in given],
        "panoptic_quality": [t.panoptic_quality for t in given],
        "aggregated_jaccard": [t.aggregated_jaccard for t in given],
        "dice": [t.dice for t in given],
        "absolute_count_error": [float(abs(t.count_error)) for t in given],
    }
    return {"scenes": len(given)} | {
        name: _number(fmean(values)) if values else None for name, values in means.items()
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
