"""Which part of a file with more than three dimensions is the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segment_tiles.pipeline.errors import SourceError

HELD_TYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")
"""Types of values that are held as they are; others become float32."""

Blocks = Sequence[tuple[int, int]]
"""Parts of a volume along the axis k, which is stored slowest: first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One time of a series, or several of its volumes as bands."""

    t: int | None = None
    """Index of the volume along the fourth axis, from 0."""
    bands: tuple[int, ...] | None = None
    """Volumes along the fourth axis that are bands, from 1, in the order of the model."""

    def times(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the indices along the fourth axis that are read."""
        if self.t is not None:
            return (self.t,)
        if shape[3] == 1:
            return (0,)
        return tuple(band - 1 for band in self.bands or ())


def checked_shape(
    path: Path, shape: tuple[int, ...], selection: Selection
) -> tuple[tuple[int, int, int], int]:
    """Return voxels along the three axes, and the number of channels.

    Raises
    ------
    SourceError
        If there are fewer or more dimensions than can be understood, or the index does not exist.
    """
    if len(shape) < 3 or min(shape) < 1 or any(side > 1 for side in shape[4:]):
        msg = f"{path}: has the shape {_sides(shape)}; a volume of three dimensions is needed"
        raise SourceError(msg)
    first, second, third = shape[:3]
    if len(shape) == 3:
        if selection.t:
            msg = f"--t is {selection.t}, but {path} has three dimensions ({_sides(shape)}) and no time"
            raise SourceError(msg)
        return (first, second, third), 1
    times = selection.times(shape)
    if not times:
        msg = (
            f"{path}: has four dimensions ({_sides(shape)}); choose one volume by --t, 0 to {shape[3] - 1}, "
            "or several as bands of the model by --bands"
        )
        raise SourceError(msg)
    if min(times) < 0 or max(times) >= shape[3]:
        option = f"--t is {selection.t}" if selection.t is not None else f"--bands names {max(times) + 1}"
        msg = f"{option}, but {path} has {shape[3]} volumes along its fourth axis"
        raise SourceError(msg)
    return (first, second, third), len(times)


def checked_dtype(dtype: np.dtype[Any]) -> str:
    """Return the type in which values are held."""
    name = dtype.newbyteorder("=").name
    return name if name in HELD_TYPES else "float32"


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)
