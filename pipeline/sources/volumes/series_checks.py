"""What makes slices a volume: one orientation, one shape, one step from slice to slice.

::

    position along the normal    0    1    2         4    5 5      mm
                                 |    |    |         |    ||
                                                ^ missing   ^ double
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.wording import counted

ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference between direction cosines of two slices of a series."""
STEP_TOLERANCE: Final = 0.05
"""Largest deviation of a step from the median, as a share of it."""
SAME_POSITION: Final = 1e-3
"""Millimetres along the normal, up to which frames of an enhanced file lie at one position."""
TILT_AT_MOST: Final = 1.0
"""Degrees between the normal of the slices and the line through their corners (a tilted gantry)."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What a file says of one slice."""

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
    thickness: float | None
    """Millimetres; the step of a series of one slice. None if the file does not say."""
    rescale: tuple[float, float] = (1.0, 0.0)
    """Factor and summand from stored values to those of the scanner."""
    frame: int | None = None
    """Index of the frame in a file of several, from 0; None in a file of one slice."""
    indices: tuple[int, ...] = ()
    """Index of the frame along every dimension of its file, from 1."""
    is_inverted: bool = False
    """Whether low values are shown bright (MONOCHROME1)."""

    @property
    def name(self) -> str:
        """File, and frame of a file of several, for people."""
        return self.file.name if self.frame is None else f"frame {self.frame + 1} of {self.file.name}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction across the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def in_order(folder: Path, headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Return the slices of every volume, each sorted along the normal; several only of enhanced files.

    Raises
    ------
    SourceError
        Naming the first file that does not belong to a whole series.
    """
    first = headers[0]
    for header in headers[1:]:
        _check_alike(first, header)
    distances = [float(np.dot(header.position, first.normal)) for header in headers]
    order = sorted(range(len(headers)), key=lambda i: (distances[i], headers[i].file, headers[i].frame or 0))
    ordered = [headers[i] for i in order]
    gaps = np.diff([distances[i] for i in order])
    volumes = [ordered]
    if len(ordered) > 1 and gaps.min() <= SAME_POSITION and all(h.frame is not None for h in ordered):
        volumes = _volumes(folder, ordered, gaps)
    if len(volumes[0]) > 1:
        steps = np.diff([float(np.dot(header.position, first.normal)) for header in volumes[0]])
        _check_steps(folder, volumes[0], steps)
        _check_tilt(folder, volumes[0])
    return volumes


def _volumes(
    folder: Path, ordered: Sequence[SliceHeader], gaps: NDArray[np.float64]
) -> list[list[SliceHeader]]:
    """Tell frames of the same positions into volumes, by their indices along dimensions that are not space.

    ::

        position    1        2        3
                    a b c    a b c    a b c      a, b, c: times, echoes, ... ; volume 0 is a of every position
    """
    edges = [0, *(np.flatnonzero(gaps > SAME_POSITION) + 1).tolist(), len(ordered)]
    positions = [
        sorted(ordered[start:stop], key=lambda header: (header.indices, header.frame or 0))
        for start, stop in pairwise(edges)
    ]
    count = len(positions[0])
    for frames in positions:
        if len(frames) != count:
            msg = (
                f"{folder}: has {counted(len(frames), 'frame')} at the position of {frames[0].name}, but {count} at "
                f"that of {positions[0][0].name}; every volume needs the same positions: split the file first"
            )
            raise SourceError(msg)
        for one, other in pairwise(frames):
            if one.indices == other.indices:
                msg = f"{folder}: {one.name} and {other.name} lie at the same position and have the same indices"
                raise SourceError(msg + "; nothing tells which volume they belong to: split the file first")
    expected = _apart(positions[0])
    for frames in positions[1:]:
        if _apart(frames) != expected:
            msg = (
                f"{folder}: the frames at the position of {frames[0].name} have other indices than those at "
                f"{positions[0][0].name}; every volume needs the same positions: split the file first"
            )
            raise SourceError(msg)
    return [list(frames) for frames in zip(*positions, strict=True)]


def _apart(frames: Sequence[SliceHeader]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of frames along the dimensions that tell them apart."""
    columns = list(zip(*(frame.indices for frame in frames), strict=False))
    return tuple(column for column in columns if len(set(column)) > 1)


def _check_alike(first: SliceHeader, other: SliceHeader) -> None:
    difference = np.abs(np.subtract(first.orientation, other.orientation)).max()
    if difference > ORIENTATION_TOLERANCE:
        msg = (
            f"{other.file.parent / other.name}: is oriented {_numbers(other.orientation)}, but {first.name} "
            f"{_numbers(first.orientation)}; a series has one orientation: leave the localizer out"
        )
        raise SourceError(msg)
    shapes = [(header.rows, header.columns) for header in (first, other)]
    if shapes[0] != shapes[1] or not np.allclose(first.spacing, other.spacing, rtol=1e-3):
        msg = (
            f"{other.file.parent / other.name}: has {other.rows} x {other.columns} pixels of "
            f"{_numbers(other.spacing)} mm, but {first.name} {first.rows} x {first.columns} of "
            f"{_numbers(first.spacing)} mm; a series has one shape"
        )
        raise SourceError(msg)


def _check_steps(folder: Path, ordered: Sequence[SliceHeader], steps: NDArray[np.float64]) -> None:
    usual = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 0.0
    for before, after, step in zip(ordered, ordered[1:], steps.tolist(), strict=False):
        names = f"{before.name} and {after.name}"
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
