"""Regions in this process: one device, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import Capacity, IsStopped, Request, Result, RunPaths

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

    def do_whole(
        self,
        function: Callable[[Request, IsStopped, IsStopped], Result],
        request: Request,
        interruption: Interruption,
    ) -> Result:
        """Do it here."""
        return function(request, interruption.is_requested, lambda: False)

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


class OneThread(InProcess):
    """The same for runs that are in flight at once, whose threads come and go.

    One thread computes for all of them: libraries keep threads and buffers for every thread that computes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = ContextPool(1, "compute")

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do all tasks in that thread."""
        return self._thread.submit(super().run, tasks, progress, interruption).result()

    def close(self, *, at_once: bool = False) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=not at_once, cancel_futures=True)
