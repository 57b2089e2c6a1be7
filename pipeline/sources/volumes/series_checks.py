"""What makes files a series: one orientation, one shape, one step from slice to slice.

::

    position along the normal    0    1    2         4    5 5      mm
                                 |    |    |         |    ||
                                                ^ missing   ^ double
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError

ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference between direction cosines of two slices of a series."""
STEP_TOLERANCE: Final = 0.05
"""Largest deviation of a step from the median, as a share of it."""
TILT_AT_MOST: Final = 1.0
"""Degrees between the normal of the slices and the line through their corners (a tilted gantry)."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What one file says of its slice."""

    file: Path
    series: str
    """SeriesInstanceUID."""
    rows: int
    columns: int
    dtype: str
    """Of its values after rescaling."""
    spacing: tuple[float, ...]
    """Millimetres between rows and between columns."""
    position: tuple[float, ...]
    """Centre of the first pixel, millimetres in LPS+."""
    orientation: tuple[float, ...]
    """Direction in which columns grow, then rows."""
    thickness: float
    """Millimetres; the step of a series of one slice."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction across the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def in_order(folder: Path, headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Return the slices sorted along their normal.

    Raises
    ------
    SourceError
        Naming the first file that does not belong to a whole series.
    """
    first = headers[0]
    for header in headers[1:]:
        _check_alike(first, header)
    distance = {header.file: float(np.dot(header.position, first.normal)) for header in headers}
    ordered = sorted(headers, key=lambda header: (distance[header.file], header.file))
    if len(ordered) > 1:
        steps = np.diff([distance[header.file] for header in ordered])
        _check_steps(folder, ordered, steps)
        _check_tilt(folder, ordered)
    return ordered


def _check_alike(first: SliceHeader, other: SliceHeader) -> None:
    difference = np.abs(np.subtract(first.orientation, other.orientation)).max()
    if difference > ORIENTATION_TOLERANCE:
        msg = (
            f"{other.file}: is oriented {_numbers(other.orientation)}, but {first.file.name} "
            f"{_numbers(first.orientation)}; a series has one orientation: leave the localizer out"
        )
        raise SourceError(msg)
    shapes = [(header.rows, header.columns) for header in (first, other)]
    if shapes[0] != shapes[1] or not np.allclose(first.spacing, other.spacing, rtol=1e-3):
        msg = (
            f"{other.file}: has {other.rows} x {other.columns} pixels of {_numbers(other.spacing)} mm, but "
            f"{first.file.name} {first.rows} x {first.columns} of {_numbers(first.spacing)} mm; a series has one shape"
        )
        raise SourceError(msg)


def _check_steps(folder: Path, ordered: Sequence[SliceHeader], steps: NDArray[np.float64]) -> None:
    usual = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 0.0
    for before, after, step in zip(ordered, ordered[1:], steps.tolist(), strict=False):
        names = f"{before.file.name} and {after.file.name}"
        if step <= STEP_TOLERANCE * usual:
            msg = f"{folder}: {names} lie at the same position; remove one of two equal slices"
            raise SourceError(msg)
        if abs(step - usual) > STEP_TOLERANCE * usual:
            missing = round(step / usual) - 1
            what = f"{missing} missing" if missing > 0 else "an uneven step"
            msg = (
                f"{folder}: between {names} are {step:.4g} mm, elsewhere {usual:.4g} mm: {what}; "
                "give a series with all its slices at even distance"
            )
            raise SourceError(msg)


def _check_tilt(folder: Path, ordered: Sequence[SliceHeader]) -> None:
    line = np.subtract(ordered[-1].position, ordered[0].position)
    across = ordered[0].normal / np.linalg.norm(ordered[0].normal)
    tilt = float(np.degrees(np.arccos(np.clip(np.dot(line, across) / np.linalg.norm(line), -1, 1))))
    if tilt > TILT_AT_MOST:
        msg = (
            f"{folder}: the slices are shifted against each other by {tilt:.1f} degrees (a tilted gantry); "
            f"up to {TILT_AT_MOST:g} is accepted: resample the series to a right-angled grid first"
        )
        raise SourceError(msg)


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:.4g}" for value in values)
