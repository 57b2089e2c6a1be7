"""Who hears how a run goes, and what it gives back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from segment_tiles.pipeline.wording import counted, readable_bytes
from segment_tiles.workflows.plans.plan import Plan

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to know how a run goes."""

    def warn(self, text: str) -> None:
        """Something that the user should know before trusting the map."""
        ...

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def planned(self, plan: Plan) -> None:
        """The run is about to start computing."""
        ...

    def tiles(self, computed: int, skipped: int) -> None:
        """Tiles were done since the last call."""
        ...


class LoggedListener:
    """Logs what a listener is told, and tells it.

    Parameters
    ----------
    listener
        Who is told.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def warn(self, text: str) -> None:
        """Log a warning that the listener says to the user."""
        log.warning("%s", text, extra={"told": True})
        self._listener.warn(text)

    def stage(self, name: str) -> None:
        """Log the stage that begins."""
        log.info("stage: %s", name)
        self._listener.stage(name)

    def planned(self, plan: Plan) -> None:
        """Log the Choice and the Plan."""
        probe = plan.probe
        log.info(
            "Choice: %s in %s by %s (%s), batches of %d tiles",
            probe.device_name, probe.precision, probe.backend, probe.chosen, probe.batch,
        )  # fmt: skip
        skipped = "an unknown number" if plan.skipped is None else f"{plan.skipped:,}"
        log.info(
            "plan: %s, of these %s outside the area, in %s on %s; %s of memory, about %.0f s",
            counted(plan.tiles, "tile"), skipped, counted(len(plan.regions), "Region"),
            counted(plan.workers, "worker"), readable_bytes(plan.memory.total), plan.expected_seconds,
        )  # fmt: skip
        self._listener.planned(plan)

    def tiles(self, computed: int, skipped: int) -> None:
        """Tell the listener; rows are logged when they are on disk."""
        self._listener.tiles(computed, skipped)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gives back."""

    report: Mapping[str, Any]
    """The contents of ``report.json``; of a run into a bucket also with what was asked of it since that was written."""
    was_finished: bool
    """The output directory held this very run, finished, already."""
    awaits_finishing: bool = False
    """All is computed, and what follows is left to a worker."""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Windows that could not be done."""
        return list(self.report["failures"])
