"""Masks of classes that may overlap, by the codes of the class map: classes that a reclass merged have one together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import array_of, attributes_of, read_class_table


@dataclass(frozen=True, slots=True)
class ClassMasks:
    """The array ``masks`` of a store, and what each of its planes is of."""

    planes: zarr.Array[Any]
    """classes of the model x rows x columns: 1 if a pixel has the class. Of a volume slices come before rows."""
    scores: zarr.Array[Any] | None
    """Their probabilities x 255, of the same shape; None: the run did not keep them."""
    map_codes: zarr.Array[Any]
    """rows x columns: the class map beside them."""
    nodata: int
    """Code of pixels without a class in it."""
    codes: tuple[int, ...]
    """Code of each plane in the class map; last the code of pixels that have none of the classes."""

    @property
    def of_classes(self) -> tuple[int, ...]:
        """Codes that have a mask, in order: all but that of pixels without a class."""
        return tuple(sorted(set(self.codes[:-1])))

    def reclassed(self, ways: Mapping[int, int]) -> ClassMasks:
        """Return the masks of other classes: ``ways`` leads from each code to a new one."""
        return replace(self, codes=tuple(ways[code] for code in self.codes))

    def read(self, code: int, window: Window) -> NDArray[np.bool_]:
        """Return the pixels of a window, rows x columns, that have a class."""
        return self.read_part(code, window.slices())

    def read_part(self, code: int, index: tuple[Any, ...]) -> NDArray[np.bool_]:
        """Return the pixels of a part, by its index in the class map, that have a class; of a volume of a slice too."""
        valid: NDArray[np.bool_] = np.asarray(self.map_codes[index]) != self.nodata
        found = np.zeros(valid.shape, np.bool_)
        for plane in self._planes_of(code):
            found |= np.asarray(self.planes[(plane, *index)]) != 0
        if self.codes[-1] == code:
            found |= ~np.asarray(self.planes[(slice(None), *index)]).any(0) & valid
        return found

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Return the pixels of a window, rows x columns, that are not nodata."""
        valid: NDArray[np.bool_] = np.asarray(self.map_codes[window.slices()]) != self.nodata
        return valid

    def read_scores(self, code: int, window: Window) -> NDArray[np.uint8]:
        """Return the highest score of what became a class, rows x columns; 0 if none was kept."""
        found = np.zeros(window.shape, np.uint8)
        if self.scores is not None:
            for plane in self._planes_of(code):
                np.maximum(found, np.asarray(self.scores[(plane, *window.slices())]), out=found)
        return found

    def _planes_of(self, code: int) -> list[int]:
        return [plane for plane, own in enumerate(self.codes[:-1]) if own == code]


def masks_of(group: zarr.Group) -> ClassMasks | None:
    """Return the masks of a store, or None if its classes exclude each other.

    Raises
    ------
    OutputError
        If its metadata is damaged.
    """
    if "masks" not in group:
        return None
    planes = array_of(group, "masks")
    with attributes_of(group) as own:
        codes = tuple(int(code) for code in own.get("masks") or range(planes.shape[0] + 1))
    scores = array_of(group, "scores") if "scores" in group else None
    return ClassMasks(planes, scores, array_of(group, "classes"), read_class_table(group).nodata, codes)
