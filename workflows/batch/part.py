"""A part of a batch, for schedulers that start many processes, such as an array of Slurm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.batch.jobs import Job


@dataclass(frozen=True, slots=True)
class Part:
    """Every n-th job, so that parts take about as long where scenes are sorted by size."""

    index: int
    """Which part, from 1."""
    count: int
    """How many parts there are."""

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this part."""
        return list(jobs[self.index - 1 :: self.count])


WHOLE = Part(1, 1)
"""All jobs."""


def parse_part(text: str) -> Part:
    """Return a part such as 3/8.

    Raises
    ------
    UsageError
        If it is not one of so many.

    >>> parse_part("3/8")
    Part(index=3, count=8)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        msg = f"--part is {text!r}; give which part of how many, such as 3/8"
        raise UsageError(msg)
    return Part(int(match[1]), int(match[2]))
