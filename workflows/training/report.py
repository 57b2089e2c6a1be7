"""What came out of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.training.spread import spread_of


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


def write_report(path: Path, report: TrainingReport) -> None:
    """Write the report as JSON."""
    document = {
        "name": report.name,
        "model": str(report.model),
        "steps": report.steps,
        "scores": report.scores,
        "left_out": report.left_out,
        "seeds": report.seeds,
        "spread": report.spread,
    }
    write_whole(path, json_text(document) + "\n")
