"""What a run is limited to: its AOI and the tissue of its slide, as one area."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.area_of_interest import Area, read_area_of_interest
from segment_tiles.pipeline.sources.areas.tissue import TissueArea, TissueMask


class SharedArea:
    """What two areas have in common."""

    def __init__(self, first: Area, second: Area) -> None:
        self._first, self._second = first, second

    def meets(self, window: Window) -> bool:
        """Return whether both meet a window."""
        return self._first.meets(window) and self._second.meets(window)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are in both: rows x columns."""
        return self._first.mask(window) & self._second.mask(window)


def computed_area(aoi: Path | None, tissue: TissueMask | Path | None, spec: RasterSpec) -> Area | None:
    """Return what is computed of a raster; None: all of it.

    Parameters
    ----------
    aoi
        Vector file, or None.
    tissue
        Mask, or vector file, or None.
    spec
        Of the raster.

    Raises
    ------
    UsageError
        Where a file cannot be read or lies outside the raster.
    """
    areas: list[Area] = []
    if aoi is not None:
        areas.append(read_area_of_interest(aoi, spec.georef, spec.window))
    if isinstance(tissue, TissueMask):
        areas.append(TissueArea(tissue, spec.height, spec.width))
    elif tissue is not None:
        areas.append(read_area_of_interest(tissue, spec.georef, spec.window, option="--tissue"))
    if len(areas) == 2:
        return SharedArea(areas[0], areas[1])
    return areas[0] if areas else None


def absolute_file(tissue: TissueMask | Path | None) -> TissueMask | Path | None:
    """Return a mask as it is and a file by its absolute path: workers may work in another folder."""
    return tissue.absolute() if isinstance(tissue, Path) else tissue
