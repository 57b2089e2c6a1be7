"""Small scenes as a whole on one worker, and large ones from the last tile on, so that no client has to keep up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from segment_tiles.pipeline.errors import RunFailedError, SegmentTilesError, UsageError, one_line
from segment_tiles.workflows.buckets.segment import segment
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, Executor, InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.regions.loaded_model import segmenters_kept
from segment_tiles.workflows.regions.region_task import SMALL_TILES, Progress, RegionReport, RegionTask
from segment_tiles.workflows.run.in_flight import Alone
from segment_tiles.workflows.run.listener import Listener, RunResult

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WholeScene:
    """What a worker has to know of a scene that it does as a whole, or finishes."""

    config: RunConfig
    """Without workers."""
    choices: Mapping[tuple[str, ...], Any]
    """How the batch computes: see `Executor`."""
    device_name: str | None
    """What it computes on; None if nothing is left to compute."""
    memory: int | None
    """Bytes that it may take."""


@dataclass(frozen=True, slots=True)
class WholeResult:
    """What a worker says of a scene that it has done."""

    result: RunResult | None
    """None if it was stopped."""
    plan: Plan | None
    """None if nothing had to be computed."""
    tiles: tuple[int, int]
    """Computed and skipped."""
    warnings: tuple[str, ...]
    """In the order in which they came."""


def segment_on_worker(
    config: RunConfig, listener: Listener, executor: Executor, device_name: str, in_flight: Alone
) -> RunResult | None:
    """Let a worker do all of a run; None if it is larger than that, or cannot be done this way.

    Whatever a worker says is wrong is looked at once more by a run that has all workers, and told by that.

    Raises
    ------
    KeyboardInterrupt
        If the user asks to stop before it is done.
    """
    told = _told_by_worker(config, listener, executor, device_name, in_flight)
    if told is None:
        return None
    if told.plan is not None:
        listener.planned(told.plan)
    listener.tiles(*told.tiles)
    for text in told.warnings:
        listener.warn(text)
    return told.result


def finish_on_worker(
    computed: RunResult, config: RunConfig, listener: Listener, executor: Executor, in_flight: Alone
) -> RunResult | None:
    """Let a worker make all that follows the last tile; None if it cannot be done this way.

    The worker takes up the output directory as the next start of the same run would. Whatever it says is wrong is
    looked at once more by the client.

    Raises
    ------
    KeyboardInterrupt
        If the user asks to stop before it is done.
    """
    listener.stage("finishing on a worker")
    told = _told_by_worker(replace(config, restart=False), listener, executor, None, in_flight)
    if told is None:
        return None
    for text in told.warnings:
        if text not in computed.report["warnings"]:
            listener.warn(text)
    return told.result


def _told_by_worker(
    config: RunConfig, listener: Listener, executor: Executor, device_name: str | None, in_flight: Alone
) -> WholeResult | None:
    alone = replace(config, workers=None, scheduler=None, cluster=None)
    request = WholeScene(alone, dict(executor.choices), device_name, executor.start().memory or config.memory)
    with in_flight.interruption(listener.warn) as asked:
        try:
            return executor.do_whole(segment_whole, request, asked)
        except SegmentTilesError as error:
            log.info("not done on one worker: %s", one_line(error))
            return None


def segment_whole(
    request: WholeScene, is_stopped: Callable[[], bool], is_aborted: Callable[[], bool]
) -> WholeResult:
    """Do a scene in this worker.

    Raises
    ------
    SegmentTilesError
        As `segment`; or it is too large for one worker.
    """
    heard = _Heard(is_aborted)
    executor = _OneWorker(request)
    result = None
    try:
        with segmenters_kept(afterwards=True):
            result = segment(request.config, heard, executor, _Stopped(is_stopped))
    except KeyboardInterrupt:
        log.info("stopped, as the user asked")
    return WholeResult(result, heard.plan, (heard.computed, heard.skipped), tuple(heard.warnings))


class _OneWorker(InProcess):
    """Regions of small scenes, in the process of a worker."""

    def __init__(self, request: WholeScene) -> None:
        super().__init__()
        self.choices = dict(request.choices)
        self._request = request

    def start(self) -> Capacity:
        """Return what the worker may take."""
        return Capacity(memory=self._request.memory)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do all tasks, if they are few.

        Raises
        ------
        RunFailedError
            If they are many.
        UsageError
            If this worker computes on something else than the others.
        """
        tiles = sum(task.tiles for task in tasks)
        if self._request.device_name is None:
            msg = f"{tiles} tiles are to be computed of a scene that was to be finished alone"
            raise RunFailedError(msg)
        if tiles > SMALL_TILES:
            msg = f"{tiles} tiles are more than the {SMALL_TILES} that one worker does as a whole"
            raise RunFailedError(msg)
        here, there = tasks[0].device_name, self._request.device_name
        if here != there:
            msg = f"this worker has {here}, the batch computes on {there}"
            raise UsageError(msg)
        return super().run(tasks, progress, interruption)


class _Stopped(Alone):
    """Asks the client whether the user wants to stop."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped

    @contextmanager
    def interruption(self, tell: Callable[[str], None]) -> Iterator[Interruption]:
        """Give the wish of the client; raise ``KeyboardInterrupt`` at the end, if it is there."""
        yield _Wish(self._is_stopped)
        if self._is_stopped():
            raise KeyboardInterrupt


class _Wish(Interruption):
    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._is_stopped = is_stopped

    def is_requested(self) -> bool:
        """Return whether to stop."""
        return self._is_stopped()


class _Heard:
    """Keeps what a run tells, for the client."""

    def __init__(self, is_aborted: Callable[[], bool]) -> None:
        self._is_aborted = is_aborted
        self.plan: Plan | None = None
        self.computed = self.skipped = 0
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)

    def stage(self, name: str) -> None:
        """End if nobody waits for it any more."""
        self._go_on()

    def planned(self, plan: Plan) -> None:
        """Keep the Plan."""
        self._go_on()
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        """Count tiles."""
        self._go_on()
        self.computed, self.skipped = self.computed + computed, self.skipped + skipped

    def _go_on(self) -> None:
        if self._is_aborted():
            raise KeyboardInterrupt
