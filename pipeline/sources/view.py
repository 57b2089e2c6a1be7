"""View: which plane of a source is read, and at how many micrometres or metres per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class View:
    """What part of a source with several resolutions and planes is read; plain data, travels to workers.

    Raises
    ------
    UsageError
        If a number is impossible, whatever the source.
    """

    mpp: float | None = None
    """Micrometres per pixel at which the source is read: resampled from the next finer Level."""
    source_mpp: float | None = None
    """Micrometres per pixel of full resolution, in place of what the source says or does not say."""
    z: int | None = None
    """Plane of a stack, from 0."""
    t: int | None = None
    """Time point, from 0."""
    metres: float | None = None
    """Metres per pixel on the ground at which a raster with a CRS is read: resampled from its Level."""

    def __post_init__(self) -> None:
        for option, value in (("--mpp", self.mpp), ("--source-mpp", self.source_mpp)):
            if value is not None and not (math.isfinite(value) and value > 0):
                msg = f"{option} is {value:g}; it must be micrometres per pixel, above 0, such as 0.5"
                raise UsageError(msg)
        if self.metres is not None and not (math.isfinite(self.metres) and self.metres > 0):
            msg = f"--resolution is {self.metres:g}; give metres per pixel, above 0, such as 0.5"
            raise UsageError(msg)
        for option, index in (("--z", self.z), ("--t", self.t)):
            if index is not None and index < 0:
                msg = f"{option} is {index}; planes and time points are counted from 0"
                raise UsageError(msg)

    @property
    def is_whole(self) -> bool:
        """True if nothing was asked for: the source is read as it is."""
        return self == WHOLE


WHOLE = View()
"""The source as it is: its own resolution, its only plane."""
