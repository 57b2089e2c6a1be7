"""Pyramid: what slides and OME images are, one array of bands at several Levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window

SAME_SIZE = 0.01
"""Relative difference of pixel sizes below which a Level is read as it is, not resampled."""


@dataclass(frozen=True, slots=True)
class PyramidFacts:
    """What is known of a pyramid without reading a pixel."""

    kind: str
    """What the file is, for people: vendor of a slide, or format and version."""
    bands: int
    """Number of bands."""
    dtype: str
    """NumPy name of the type of a value."""
    levels: tuple[tuple[int, int], ...]
    """Rows and columns of every Level, full resolution first."""
    chunks: tuple[tuple[int, int], ...]
    """Rows and columns of what is decoded at once, of every Level."""
    mpp: tuple[float, float] | None
    """Height and width of a full-resolution pixel in micrometres; None if the file does not say."""
    band_names: tuple[str, ...] = ()
    """Names from the file; empty if it has none."""
    band_numbers: tuple[int, ...] = ()
    """Numbers of the bands in the file, if these are chosen of it; else they are 1, 2 and so on."""
    origin: tuple[float, float] = (0.0, 0.0)
    """x and y of the top left corner, in micrometres."""
    decoded_bytes: int | None = None
    """Bytes of a decoded pixel in the reader's cache, if that is not bands x bytes of a value."""
    color_tables: tuple[int, ...] = ()
    """1-based bands that hold positions in a colour table, of which no mean can be made."""
    is_slide: bool = False
    """Whether it is a brightfield slide, glass and tissue: a tissue mask makes sense."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else ``info`` tells: vendor, magnification, axes."""

    def downsample(self, level: int) -> tuple[float, float]:
        """Return full-resolution pixels in a pixel of a Level, down and across."""
        return downsample(self.levels[0], self.levels[level])

    def level_for(self, mpp: float, full: tuple[float, float]) -> int:
        """Return the coarsest Level whose pixels are no larger than ``mpp``; 0 where all are larger.

        Overviews lie in a file in any order.
        """
        fine_enough = [
            level
            for level in range(len(self.levels))
            if max(size * step for size, step in zip(full, self.downsample(level), strict=True))
            <= mpp * (1 + SAME_SIZE)
        ]
        return max(fine_enough, key=self.downsample, default=0)


def downsample(full: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """Return pixels of full resolution in a pixel of a Level, down and across, from rows and columns of both.

    A Level of 4376 rows of 17505 was made by dividing by 4: rounding of its size is not scale.

    >>> downsample((17505, 16384), (4376, 4096))
    (4.0, 4.0)
    """
    ratios = full[0] / level[0], full[1] / level[1]
    whole = round(max(ratios))
    sides = zip(full, level, strict=True)
    if all(side in {whole_side // whole, -(-whole_side // whole)} for whole_side, side in sides):
        return float(whole), float(whole)
    return ratios


class Pyramid(Protocol):
    """An open pyramid: one handle, one thread at a time, never pickled."""

    facts: PyramidFacts
    """Levels, bands, type, pixel size."""

    def read(
        self, level: int, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window of a Level, bands x rows x columns, and which pixels hold data; None: all do.

        ``bands`` are 0-based, in the order wanted.

        A pixel has the same value in whatever window it is read.

        Raises
        ------
        ReadFailedError
            If the file cannot be decoded there.
        """
        ...

    def close(self) -> None:
        """Release the handle."""
        ...
