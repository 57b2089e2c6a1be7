"""How a batch looks on a terminal, and in the log of a nightly job: a line per scene on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from segment_tiles.cli.terminal.console import Console

if TYPE_CHECKING:
    from segment_tiles.workflows.batch.jobs import Job
    from segment_tiles.workflows.batch.outcome import JobOutcome
    from segment_tiles.workflows.plans.plan import Plan


class BatchConsole(Console):
    """Listens to a batch, of which several jobs are in flight: one bar for the tiles of all that have begun."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._quiet = quiet
        self._total = self._ended = self._tiles = 0

    def __enter__(self) -> BatchConsole:
        super().__enter__()
        return self

    def job_starts(self, job: Job, total: int) -> None:
        """Show which job begins."""
        self._total = total
        super().stage(f"{self._ended:,} of {total:,} done, {job.name}")

    def stage(self, name: str) -> None:
        """Show nothing: each of the jobs in flight has a stage of its own."""

    def planned(self, plan: Plan) -> None:
        """Make the bar longer by the tiles of a job."""
        self._tiles += plan.tiles
        self._tile_pixels = plan.scene.lattice.columns.stride * plan.scene.lattice.rows.stride
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=self._tiles)

    def job_ends(self, outcome: JobOutcome) -> None:
        """Print one line, above the progress if there is one."""
        self._ended += 1
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
