"""Sheaths of objects, such as the myelin of axons: their pixels, and what they make of the size of an object.

An axon with its myelin is a fibre. Diameters are those of circles of the same area; the g-ratio is that of the axon
over that of the fibre. The pixels of sheaths are whole numbers that add up over tiles, so all of it is the same however
the raster was cut.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.vectors.rasters.identities import (
    FIRST,
    identities_of,
    is_object,
    rules_of_keys,
)

Numbers = NDArray[np.int64]
Array = NDArray[np.float64]

SHEATH_LENGTHS: Final = ("axon_diameter", "fibre_diameter", "myelin_thickness")
SHEATH_COLUMNS: Final = (*SHEATH_LENGTHS, "g_ratio")
"""Of objects with a sheath, in the order of `sheath_columns`."""


@dataclass(frozen=True, slots=True)
class Sheaths:
    """Pixels of the sheaths of objects."""

    identities: Numbers
    """Of objects that have some, ascending."""
    pixels: Numbers
    """Of the sheath of each."""

    @classmethod
    def of_keys(cls, keys: Sequence[Numbers]) -> Sheaths:
        """Return them from the keys that pixels were given to; a key of 0 is none."""
        all_keys = np.concatenate([np.empty(0, np.int64), *keys])
        found, pixels = np.unique(all_keys[all_keys > 0], return_counts=True)
        return cls(identities_of(found), pixels.astype(np.int64))

    @classmethod
    def sum(cls, tiles: Sequence[Sheaths]) -> Sheaths:
        """Return those of a raster from those of its tiles."""
        identities = np.concatenate([np.empty(0, np.int64), *(tile.identities for tile in tiles)])
        pixels = np.concatenate([np.empty(0, np.int64), *(tile.pixels for tile in tiles)])
        order = np.argsort(identities, kind="stable")
        found, starts = np.unique(identities[order], return_index=True)
        return cls(found, np.add.reduceat(pixels[order], starts) if len(found) else pixels)

    def write(self, path: Path) -> None:
        """Write them to a file, whose checksum the ledger has."""
        file = io.BytesIO()
        np.save(file, np.stack([self.identities, self.pixels]), allow_pickle=False)
        write_whole(path, file.getvalue(), waits=False)

    @classmethod
    def read(cls, path: Path) -> Sheaths:
        """Return those of a file; they stay there until they are looked up."""
        identities, pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(identities, pixels)

    def of(self, identities: Numbers) -> Numbers:
        """Return the pixels of the sheath of each object; 0: it has none."""
        if not len(self.identities):
            return np.zeros(identities.shape, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.identities, identities), len(self.identities) - 1)
        return np.where(self.identities[found] == identities, self.pixels[found], 0)


@dataclass(frozen=True, slots=True)
class MeasuredSheaths:
    """Sheaths, and which objects may have one."""

    sheaths: Sheaths
    """Of a raster."""
    rules: tuple[int, ...]
    """Numbers of the rules whose objects may."""

    def columns(self, identities: Numbers, pixels: Numbers, areas: Array) -> list[Array]:
        """Return the columns `SHEATH_COLUMNS`; NaN of features whose rule has no sheath.

        An object without a pixel of its sheath has a g-ratio of 1.

        Parameters
        ----------
        identities, pixels
            Of each feature.
        areas
            Of each, in the square of the unit of the columns.
        """
        may_have = is_object(identities)
        may_have[may_have] = np.isin(rules_of_keys(identities[may_have] - FIRST + 1), self.rules)
        inner = np.where(may_have, np.sqrt(4 * areas / np.pi), np.nan)
        ratio = np.where(may_have, np.sqrt(pixels / (pixels + self.sheaths.of(identities))), np.nan)
        outer = inner / ratio
        return [inner, outer, (outer - inner) / 2, ratio]
