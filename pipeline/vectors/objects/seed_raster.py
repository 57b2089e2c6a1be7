"""The seeds of objects as a class raster: the class code at a seed, and elsewhere a code that no class has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.objects.rules import CodeRules
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster

NO_SEED: Final = int(np.iinfo(np.int64).min)


class SeedRaster:
    """Codes of seeds; where a class is split by distance, those of its middles alone."""

    def __init__(self, original: ClassRaster, rules: CodeRules, middles: Path | None) -> None:
        self._original = original
        self._codes = [rule.code for rule in rules.rules if rule.rule.split_by is None]
        self._split = [rule.code for rule in rules.rules if rule.rule.split_by is not None]
        self._middles: zarr.Array[Any] | None = (
            None if middles is None else zarr.open_array(middles, mode="r")
        )
        self.spec = original.spec

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns of int64."""
        codes = self._original.read(window).astype(np.int64)
        seeds = np.isin(codes, self._codes)
        if self._middles is not None:
            seeds |= np.isin(codes, self._split) & (np.asarray(self._middles[window.slices()]) > 0)
        return np.where(seeds, codes, NO_SEED)

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns."""
        return self._original.read_confidence(window)

    def close(self) -> None:
        """Close the original."""
        self._original.close()
