"""What became of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segment_tiles.workflows.batch.jobs import Job

State = Literal["done", "skipped", "changed", "failed", "waiting"]
"""skipped: finished before and unchanged; changed: finished before with other settings or another source."""


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
    """Contents of its ``report.json``."""

    @property
    def has_failed(self) -> bool:
        """Whether the user has to look at it."""
        return self.state in {"changed", "failed"}
