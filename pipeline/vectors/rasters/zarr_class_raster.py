"""Class rasters of our own runs: ``classes.zarr``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import ReadFailedError, VectorError, one_line
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_class_table, read_georef
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec


class ZarrClassRaster:
    """The arrays ``classes`` and ``confidence`` of a finished run at full resolution."""

    def __init__(self, path: Path) -> None:
        group = open_store(path)
        if array_of(group, "classes").ndim != 2:
            msg = f"{path}: is the class map of a volume; only those of rasters have polygons (a volume has NIfTI)"
            raise VectorError(msg)
        table, masks = read_class_table(group), masks_of(group)
        self._path = path
        self._codes = array_of(group, "classes")
        self._confidence = array_of(group, "confidence")
        height, width = self._codes.shape
        self.spec = ClassRasterSpec(
            height=height,
            width=width,
            dtype=table.dtype,
            nodata=table.nodata,
            georef=read_georef(group),
            classes=table.classes,
            has_confidence=masks is None or masks.scores is not None,
            has_all_classes=True,
            masks=() if masks is None else masks.of_classes,
            objects=table.objects,
        )

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns."""
        return self._read(self._codes, window)

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns."""
        return self._read(self._confidence, window)

    def _read(self, array: zarr.Array[Any], window: Window) -> NDArray[Any]:
        try:
            return np.asarray(array[window.slices()])
        except (OSError, ValueError, RuntimeError) as error:
            msg = f"reading rows {window.row} to {window.row_stop} of {self._path} failed: {one_line(error)}"
            raise ReadFailedError(msg) from error

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
