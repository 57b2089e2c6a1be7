"""One class, of several that may overlap, as a class raster: its code, nodata, and one code for all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import ReadFailedError, VectorError, one_line
from segment_tiles.pipeline.grid.classes import Target
from segment_tiles.pipeline.grid.reclass import reclass_of
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec
from segment_tiles.pipeline.vectors.rasters.reclassed_class_raster import reclassed_spec
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster


class MaskClassRaster:
    """The mask of a class of a finished run; confidence is the score of that class, if the run kept scores.

    Parameters
    ----------
    path
        ``classes.zarr``.
    code
        Of the class, after a reclass.
    reclass
        Classes as they will be: those that are merged have one mask, of all pixels that have one of them.

    Raises
    ------
    VectorError
        If its classes exclude each other.
    """

    def __init__(self, path: Path, code: int, reclass: Sequence[Target] = ()) -> None:
        spec, masks = ZarrClassRaster(path).spec, masks_of(open_store(path))
        if masks is None:
            msg = (
                f"{path}: its classes do not overlap, so none has a mask of its own; polygonize the class map"
            )
            raise VectorError(msg)
        if reclass:
            found = reclass_of(reclass, spec.classes, "the raster")
            spec, masks = reclassed_spec(spec, found), masks.reclassed(dict(found.codes))
        self._path, self._masks, self._code = path, masks, code
        self.spec: ClassRasterSpec = replace(
            spec, has_confidence=masks.scores is not None and code in masks.of_classes
        )

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns: that of the class if a pixel has it, else another one."""
        other = 0 if self._code else 1
        try:
            found, valid = self._masks.read(self._code, window), self._masks.valid(window)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(window, error) from error
        codes = np.full(window.shape, other, self.spec.dtype)
        codes[found] = self._code
        codes[~valid] = self.spec.nodata
        return codes

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the score of the class, rows x columns: round(255 * probability)."""
        try:
            return self._masks.read_scores(self._code, window)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(window, error) from error

    def _failed(self, window: Window, error: Exception) -> ReadFailedError:
        msg = f"reading rows {window.row} to {window.row_stop} of {self._path} failed: {one_line(error)}"
        return ReadFailedError(msg)

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
