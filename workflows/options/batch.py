"""The options of `segment-tiles batch` and `schedule`, declared once; what the jobs are is said by a jobs file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.options.declare import argument, chosen, option, options_of
from segment_tiles.workflows.options.keywords import values_of


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """One batch, as asked for."""

    jobs: Path = argument("Jobs file: scenes, settings, output directories.", metavar="JOBS.yaml")
    dry_run: bool = option("Print the summed Plan of the jobs; compute nothing.", default=False)
    restart: bool = option("Throw away what all jobs left.", default=False)
    restart_changed: bool = option("Do again the jobs whose source or settings have changed.", default=False)
    part: str = option(
        "Every N-th job from the I-th; table and collection need them all.", default="1/1", metavar="I/N"
    )


def _as_of_batch(field: str) -> str:
    return chosen(BatchConfig, field)[0].help


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """A batch again and again, as asked for.

    Raises
    ------
    UsageError
        If an option has a value that it cannot have, or it is not said when the batch runs.
    """

    jobs: Path = argument(_as_of_batch("jobs"), metavar="JOBS.yaml")
    cron: str | None = option("When: minute, hour, day, month, weekday.", default=None, metavar="'M H D M W'")
    timezone: str = option("Of --cron, such as Europe/Berlin.", default="UTC", metavar="NAME")
    now: bool = option("Run the flow once, now, and stop.", default=False)
    name: str | None = option(
        "Of the deployment; default: that of the jobs file.", default=None, metavar="NAME"
    )
    retries: int = option("How often a failed job is tried again in one run.", default=2, metavar="N")
    retry_seconds: float = option("Wait before a job is tried again.", default=60.0, metavar="S")
    restart_changed: bool = option(_as_of_batch("restart_changed"), default=False)

    def __post_init__(self) -> None:
        for name, value in (("--retries", self.retries), ("--retry-seconds", self.retry_seconds)):
            if not (math.isfinite(value) and value >= 0):
                msg = f"{name} is {value:g}; give a number from 0"
                raise UsageError(msg)
        if (self.cron is None) == (not self.now):
            msg = "give either --cron, such as '0 3 * * *' for every night at three, or --now"
            raise UsageError(msg)


def batch_config_from(**options: Any) -> BatchConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``jobs`` is missing.
    UsageError
        If a value is wrong.
    """
    return BatchConfig(**values_of(options_of(BatchConfig), options))


def schedule_config_from(**options: Any) -> ScheduleConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``jobs`` is missing.
    UsageError
        If a value is wrong.
    """
    return ScheduleConfig(**values_of(options_of(ScheduleConfig), options))
