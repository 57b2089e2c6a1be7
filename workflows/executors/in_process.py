"""Regions in this process: one device, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import Capacity, Request, Result, RunPaths, WholeWork

if TYPE_CHECKING:
    from segment_tiles.pipeline.places.protocol import Traffic
    from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
    from segment_tiles.workflows.regions.strips import Strip


class InProcess:
    """One device, one Region after the other, in this process."""

    shares_network = False
    """Whether Regions of small runs are done beside those of others."""

    def __init__(self) -> None:
        self.choices: dict[tuple[str, ...], Any] = {}

    def start(self) -> Capacity:
        """Nothing needs starting."""
        return Capacity()

    def check(self, paths: RunPaths) -> RunPaths:
        """Nothing to ask: this process has opened everything itself."""
        return paths

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call it here."""
        return function(*arguments)

    def do_whole(
        self, work: WholeWork[Request, Result], request: Request, interruption: Interruption
    ) -> Result:
        """Do it here."""
        return work(request, interruption.is_requested, lambda: False)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do all tasks here."""
        from segment_tiles.workflows.regions.region_task import SMALL_TILES  # noqa: PLC0415 - brings torch: see protocol
        from segment_tiles.workflows.regions.region_work import do_region  # noqa: PLC0415

        reports, is_small = [], sum(task.tiles for task in tasks) <= SMALL_TILES
        for task in tasks:
            if interruption.is_requested():
                break
            shares = self.shares_network and is_small
            reports.append(do_region(task, progress, interruption.is_requested, shares=shares))
        return reports

    def trace(self, strips: Sequence[Strip], interruption: Interruption) -> list[Traffic]:
        """Trace all strips here."""
        from segment_tiles.workflows.regions.strips import trace_strip  # noqa: PLC0415 - brings GDAL

        return [trace_strip(strip, interruption.is_requested, lambda: False) for strip in strips]

    def close(self, *, at_once: bool = False) -> None:
        """Nothing was started."""


COMPUTING_AT_ONCE: Final = 2
"""Runs whose Regions are done at once: while one reads its first tile, or writes its last row, the other computes."""


class OwnThreads(InProcess):
    """The same for runs that are in flight at once, whose threads come and go.

    Two threads compute for all of them: libraries keep threads and buffers for every thread that computes. Small runs
    share the network, each in half of the cores.
    """

    shares_network = True

    def __init__(self) -> None:
        super().__init__()
        self._making = threading.Lock()
        self._threads: ContextPool | None = None

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do all tasks in one of the threads."""
        return self._pool().submit(super().run, tasks, progress, interruption).result()

    def close(self, *, at_once: bool = False) -> None:
        """Give the threads back."""
        if self._threads is not None:
            self._threads.shutdown(wait=not at_once, cancel_futures=True)

    def _pool(self) -> ContextPool:
        import torch  # noqa: PLC0415 - see protocol

        with self._making:
            if self._threads is None:
                # a thread begins with what the process has at that moment, which may be half of it
                threads = torch.get_num_threads()
                self._threads = ContextPool(
                    COMPUTING_AT_ONCE, "compute", initializer=torch.set_num_threads, initargs=(threads,)
                )
            return self._threads
