"""What became of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from segment_tiles.workflows.batch.jobs import Job

State = Literal["done", "skipped", "changed", "failed", "waiting"]
"""skipped: finished before and unchanged; changed: finished before with other settings or another source."""


KEPT: Final = ("kind", "seconds", "tiles", "memory", "model", "fingerprint", "area_unit", "classes", "nodata")
"""Entries of a report that a batch keeps until its end; those of thousands of whole reports would fill the memory."""


def kept_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a batch keeps of the report of a job: what its table shows."""
    kept = {name: report[name] for name in KEPT if name in report}
    choices = report.get("choices", {})
    return {**kept, "choices": {name: choices.get(name) for name in ("device_name", "precision")}}


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What became of a job."""

    job: Job
    """Which."""
    state: State
    """How it ended."""
    error: str | None = None
    """Why it failed, one line."""
    seconds: float = 0.0
    """Wall time of this start."""
    report: Mapping[str, Any] | None = None
    """What of its ``report.json`` the table of the batch shows; see `kept_of`."""

    @property
    def has_failed(self) -> bool:
        """Whether the user has to look at it."""
        return self.state in {"changed", "failed"}
