"""Progress to any callable, warnings to Python's own, stages to the log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from segment_tiles.pipeline.errors import SegmentTilesWarning

if TYPE_CHECKING:
    from segment_tiles.workflows.plans.plan import Plan

Progress = Callable[[int, int], object]
"""Called again and again with what is done and what there is in all: tiles, or steps of a training."""
LOG = logging.getLogger(__name__)
# as every library: a program without a log is told by warnings, and Python would print the records beside them
logging.getLogger("segment_tiles").addHandler(logging.NullHandler())


class TileCount:
    """Adds up tiles that are done, and tells the sum."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, computed: int, skipped: int) -> None:
        """Count tiles; those without a pixel to compute are done too."""
        self._done += computed + skipped
        self._progress(self._done, self._total)


class RunListener:
    """Listens to a run."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._count: TileCount | None = None

    def warn(self, text: str) -> None:
        """Give a warning; who calls the library decides what becomes of it."""
        warnings.warn(text, SegmentTilesWarning, stacklevel=2)

    def stage(self, name: str) -> None:
        """Log the stage that begins."""
        LOG.info("%s", name)

    def planned(self, plan: Plan) -> None:
        """Take the number of tiles."""
        if self._progress is not None:
            self._count = TileCount(self._progress, plan.tiles)

    def tiles(self, computed: int, skipped: int) -> None:
        """Tell of tiles."""
        if self._count is not None:
            self._count.add(computed, skipped)


class TrainingListener:
    """Listens to a training."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._steps = 0

    def started(self, name: str, first_step: int, steps: int) -> None:
        """Log the training that begins or goes on."""
        LOG.info("%s: from step %d of %d", name, first_step, steps)
        self._steps = steps

    def stepped(self, row: Mapping[str, float]) -> None:
        """Tell of a step."""
        if self._progress is not None:
            self._progress(int(row["step"]), self._steps)

    def scored(self, row: Mapping[str, float]) -> None:
        """Log the scores of the held-out areas."""
        LOG.info("%s", ", ".join(f"{name} {value:g}" for name, value in row.items()))

    def noted(self, text: str) -> None:
        """Give a warning of what was repaired or left out."""
        warnings.warn(text, SegmentTilesWarning, stacklevel=2)
