"""What came out of a training, and mean and spread of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.packages.card import TOGETHER

SPREAD_OF = ("iou", "dice", "precision", "recall")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came out of a training."""

    name: str
    model: Path
    """Folder of the model package."""
    steps: int
    scores: Mapping[str, Any]
    """Of each held-out area, by the weights as they were saved."""
    left_out: Mapping[str, Any]
    """Scene, or fold of pictures -> scores of another training that never saw it."""
    notes: tuple[str, ...] = ()
    """What was held out and not scored."""
    seeds: Mapping[str, Any] = field(default_factory=dict)
    """Seed -> scores over all that is held out, of the trainings from several seeds."""

    @property
    def spread(self) -> Mapping[str, Any]:
        """Mean and standard deviation over seeds, and over what was left out in turn; empty if there is neither."""
        found = {
            "seeds": spread_of(self.seeds.values()) if self.seeds else {},
            "left_out": spread_of(self.left_out.values()) if self.left_out else {},
        }
        return {name: spread for name, spread in found.items() if spread}


def report_document(report: TrainingReport) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "name": report.name,
        "model": str(report.model),
        "steps": report.steps,
        "scores": report.scores,
        "left_out": report.left_out,
        "seeds": report.seeds,
        "spread": report.spread,
        "notes": list(report.notes),
    }


def write_report(path: Path, report: TrainingReport) -> None:
    """Write the report as JSON."""
    write_whole(path, json_text(report_document(report)) + "\n")


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
