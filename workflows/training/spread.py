"""Mean and spread of the scores of several trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from segment_tiles.workflows.training.final_scores import TOGETHER

SPREAD_OF = ("iou", "dice", "precision", "recall")


def overall(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores over all held-out areas of one training; those of its only area; nothing if there are none."""
    return scores.get(TOGETHER) or next(iter(scores.values()), {})


def spread_of(trainings: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return mean and standard deviation of each score over several trainings.

    Parameters
    ----------
    trainings
        Scores of one area each, as `final_scores` gives them.

    Returns
    -------
    dict
        ``trainings``, ``mean_iou`` and each class: ``{"mean": ..., "std": ...}`` of what is defined; the standard
        deviation is that of a sample, and None of a single number.
    """
    given = [scores for scores in trainings if scores]
    result: dict[str, Any] = {"trainings": len(given), "mean_iou": _of([s["mean_iou"] for s in given])}
    for name in dict.fromkeys(n for s in given for n, v in s.items() if isinstance(v, Mapping)):
        entries = [s[name] for s in given if name in s]
        result[name] = {score: _of([entry[score] for entry in entries]) for score in SPREAD_OF}
        objects = [entry["objects"]["f1"] for entry in entries if "objects" in entry]
        if objects:
            result[name]["object_f1"] = _of(objects)
    return result


def _of(values: Iterable[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": round(fmean(known), 4) if known else None,
        "std": round(stdev(known), 4) if len(known) > 1 else None,
    }
