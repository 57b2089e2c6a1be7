"""Slab: the slices of a volume that one Region does, as plain data that travels to workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec

SLICES: int = 32
"""Slices of a Slab, at most; a batch that is not full at its end is filled up, so few are wasted."""


NOT_FINITE_MARK: int = 1
"""Confidence, in the scores of a direction, which nobody sees, of voxels that are nodata for their scores are NaN."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Consecutive slices of the result of a volume."""

    spec: VolumeSpec
    """Of the whole volume."""
    voxels: Path
    """Copy of its voxels, where every worker finds it."""
    slicing: Slicing
    """How it is cut."""
    neighbours: int
    """Slices on both sides that are bands too."""
    first: int
    """Slice of the volume that is slice 0 of the result."""
    slices: tuple[int, int]
    """First slice of the result that is done, and the one after the last."""
    is_direction: bool = False
    """Whether the scores are one of several directions, to be averaged."""


def slabs_of(count: int) -> list[tuple[int, int]]:
    """Return first and last slice of every Slab, half-open.

    >>> slabs_of(70)
    [(0, 32), (32, 64), (64, 70)]
    """
    return [(first, min(first + SLICES, count)) for first in range(0, count, SLICES)]
