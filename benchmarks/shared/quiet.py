"""A listener that says nothing."""

from __future__ import annotations

from segment_tiles.workflows.batch.jobs import Job
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.plans.plan import Plan


class Quiet:
    """Hears of runs and batches, and says nothing."""

    def warn(self, text: str) -> None:
        """Ignore."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def planned(self, plan: Plan) -> None:
        """Ignore."""

    def tiles(self, computed: int, skipped: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def job_starts(self, job: Job, total: int) -> None:
        """Ignore."""

    def job_ends(self, outcome: JobOutcome) -> None:
        """Ignore."""
