"""Numbers of objects, and the pixels that have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.rasters.identities import Identities


@dataclass(frozen=True, slots=True)
class ObjectNumbers:
    """Numbers of objects, 1, 2, 3, ... in the order of the first pixels of their seeds: those of the label image."""

    identities: NDArray[np.int64]
    """Of the objects that no filter left out, ascending."""

    def of(self, identities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each identity; 0 of classes, and of objects that are left out."""
        if not len(self.identities):
            return np.zeros(identities.shape, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.identities, identities), len(self.identities) - 1)
        return np.where(self.identities[found] == identities, found + 1, 0)


@dataclass(frozen=True, slots=True)
class ObjectPixels:
    """Which object each pixel of a raster belongs to."""

    path: Path
    """Zarr array of identities."""
    shape: tuple[int, int]
    """Rows and columns."""
    identities: Identities
    """What they mean."""

    def numbers(self, window: Window, numbers: ObjectNumbers, codes: list[int]) -> NDArray[np.uint32]:
        """Return the numbers of the objects of some classes in a window, 0 elsewhere."""
        import zarr  # noqa: PLC0415 - most layers are of polygons alone

        array: Any = zarr.open_array(self.path, mode="r")
        found = np.asarray(array[window.slices()])
        # one look for each run of pixels
        flat = found.ravel()
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        runs = flat[starts]
        known = np.where(np.isin(self.identities.classes(runs), codes), numbers.of(runs), 0)
        known = known.astype(np.uint32)
        return np.repeat(known, np.diff(starts, append=flat.size)).reshape(found.shape)
