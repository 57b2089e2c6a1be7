"""How a batch looks on a terminal, and in the log of a nightly job: a line per scene on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from segment_tiles.cli.terminal.console import Console

if TYPE_CHECKING:
    from segment_tiles.workflows.batch.jobs import Job
    from segment_tiles.workflows.batch.outcome import JobOutcome


class BatchConsole(Console):
    """Listens to a batch; warnings name the job that they are about."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._quiet = quiet
        self._job = ""
        self._total = 0

    def __enter__(self) -> BatchConsole:
        super().__enter__()
        return self

    def job_starts(self, job: Job, total: int) -> None:
        """Show which job begins."""
        self._job, self._total = job.name, total
        self.stage(f"{job.number} of {total}, {job.name}")

    def job_ends(self, outcome: JobOutcome) -> None:
        """Print one line, above the progress if there is one."""
        if self._quiet:
            return
        error = f": {outcome.error}" if outcome.error else ""
        text = (
            f"{outcome.job.number} of {self._total}: {outcome.job.name}: "
            f"{outcome.state}, {outcome.seconds:.1f} s{error}"
        )
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, markup=False)
        else:
            print(f"segment-tiles: {text}", file=sys.stderr)

    def warn(self, text: str) -> None:
        """Print a warning with the name of the job."""
        super().warn(f"{self._job}: {text}" if self._job else text)
