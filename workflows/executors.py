"""Where Regions are done: in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from segment_tiles.workflows.region_task import Progress, RegionReport, RegionTask, do_region


class Executor(Protocol):
    """Does Regions; in any order, on any worker, with the same bytes."""

    def run(self, tasks: Sequence[RegionTask], progress: Progress | None) -> list[RegionReport]:
        """Do all tasks and return their reports in the order of the tasks."""
        ...


class InProcess:
    """One device, one Region after the other, in this process."""

    def run(self, tasks: Sequence[RegionTask], progress: Progress | None) -> list[RegionReport]:
        """Do all tasks here."""
        return [do_region(task, progress) for task in tasks]
