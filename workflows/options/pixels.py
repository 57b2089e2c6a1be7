"""The options on which pixels of a source are read, declared once: level, size, plane, and the grid of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.options.declare import option
from segment_tiles.workflows.options.parsers import parse_resolution

GRIDS: Final = ("source", "model")
"""On which a result can lie."""


@dataclass(frozen=True, kw_only=True)  # with slots it could not stand beside other settings
class PixelSettings:
    """Which pixels of a source are read, as asked for; None means that the source and the model decide."""

    level: int | None = option(
        "Level of the source; 0 is full size.", default=None, metavar="N", minimum=0
    )  # None: full size, or what the model's micrometres per pixel need
    resolution: float | str = option(
        "Pixel size on the ground at which a raster is computed: the model's, the raster's own, or metres.",
        default="model",
        metavar="model|native|METRES",
        parse=parse_resolution,
        above=0,
        pattern="^(model|native)$",
    )
    grid: str | None = option(
        "Grid of a result that was computed at another pixel size: source (default of rasters) or model (of slides).",
        default=None,
        metavar="source|model",
        choices=GRIDS,
    )
    mpp: float | None = option(
        "Read a slide at X micrometres per pixel; default: the model's, if it has one.",
        default=None,
        metavar="X",
        above=0,
    )
    source_mpp: float | None = option(
        "Micrometres per pixel of the slide itself, if it is silent or wrong.",
        default=None,
        metavar="X",
        above=0,
    )
    z: int | None = option(
        "Plane of an OME image with several, from 0.", default=None, metavar="N", minimum=0
    )
    t: int | None = option(
        "Time point of a source with several, from 0.", default=None, metavar="N", minimum=0
    )

    @property
    def view(self) -> View:
        """Micrometres per pixel, plane and time point, as far as they are asked for."""
        return View(self.mpp, self.source_mpp, self.z, self.t)

    @property
    def metres(self) -> float | None:
        """Metres per pixel that are asked for by number."""
        return None if isinstance(self.resolution, str) else self.resolution
