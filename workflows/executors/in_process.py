"""Regions in this process: one device, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import Capacity, Result, RunPaths

if TYPE_CHECKING:
    from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask


class InProcess:
    """One device, one Region after the other, in this process."""

    def __init__(self) -> None:
        self.choices: dict[tuple[str, ...], Any] = {}

    def start(self) -> Capacity:
        """Nothing needs starting."""
        return Capacity()

    def check(self, paths: RunPaths) -> None:
        """Nothing to ask: this process has opened everything itself."""

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call it here."""
        return function(*arguments)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do all tasks here."""
        from segment_tiles.workflows.regions.region_work import do_region  # noqa: PLC0415 - brings torch: see protocol

        reports = []
        for task in tasks:
            if interruption.is_requested():
                break
            reports.append(do_region(task, progress, interruption.is_requested))
        return reports

    def close(self, *, at_once: bool = False) -> None:
        """Nothing was started."""
