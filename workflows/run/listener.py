"""Who hears how a run goes, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from segment_tiles.workflows.plans.plan import Plan


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


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gives back."""

    report: Mapping[str, Any]
    """The contents of ``report.json``."""
    was_finished: bool
    """The output directory held this very run, finished, already."""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Windows that could not be done."""
        return list(self.report["failures"])
