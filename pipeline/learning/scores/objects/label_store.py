"""The numbers of objects that ``--format labels`` writes, read as the GeoTIFF of the same numbers is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.label_rasters import covers_scene
from segment_tiles.pipeline.outputs.stores.store import ATTRIBUTE, array_of, read_georef
from segment_tiles.pipeline.sources.damage import said
from segment_tiles.pipeline.sources.pyramids.decoded_chunks import read_errors

FULL: Final = "0"
"""The array at full resolution."""


class LabelStore:
    """OME-Zarr labels of objects; each number but 0 is one, and every pixel is known.

    Parameters
    ----------
    path
        The store.
    name
        Of the scene, for messages.
    spec
        The grid on which it is read; None: its own.

    Raises
    ------
    TrainingError
        It cannot be read, does not say where it lies, or lies on another grid.
    """

    def __init__(self, path: Path, name: str, spec: RasterSpec | None = None) -> None:
        self._path, self._name = path, name
        self.notes: tuple[str, ...] = ()
        try:
            group = zarr.open_group(path, mode="r", zarr_format=3)
        except read_errors() as error:
            msg = f"labels of scene {name} cannot be read from {path}: {said(error)}; write them again"
            raise TrainingError(msg) from error
        if ATTRIBUTE not in group.attrs:
            msg = (
                f"{path} does not say where it lies, as those of earlier versions; write it again: segment-tiles "
                "export RESULT --format labels"
            )
            raise TrainingError(msg)
        stored = read_georef(group)
        self._numbers = array_of(group, FULL)
        height, width = self._numbers.shape
        # unit and full resolution are what a GeoTIFF does not tell
        georef = GeoRef.from_affine(stored.affine, stored.crs_wkt)
        self.spec = RasterSpec(1, height, width, str(self._numbers.dtype), georef)
        if spec is not None:
            self._require_grid(spec)

    def _require_grid(self, spec: RasterSpec) -> None:
        georef = self.spec.georef
        crs = None if georef.crs_wkt is None else CRS.from_wkt(georef.crs_wkt)
        transform = Affine.identity() if georef == GeoRef.of_pixels() else georef.affine
        if (self.spec.height, self.spec.width) == (spec.height, spec.width):
            covers, self.notes = covers_scene(crs, transform, spec, self._name)
            if covers:
                return
        msg = (
            f"{self._path} ({self.spec.width} x {self.spec.height}) lies on another grid or in another CRS than what "
            f"it is scored with ({spec.width} x {spec.height}); give labels.tif instead, which is warped: "
            "segment-tiles export RESULT --format labels-cog"
        )
        raise TrainingError(msg)

    def read_objects(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the number of each pixel's object, rows x columns, 0: none; and that all pixels are known."""
        try:
            numbers: Any = np.asarray(self._numbers[window.slices()])
        except read_errors() as error:
            msg = (
                f"labels of scene {self._name}: {self._path} cannot be read in rows {window.row} to "
                f"{window.row_stop} ({said(error)}); write them again"
            )
            raise TrainingError(msg) from error
        return numbers.astype(np.int64), np.ones(window.shape, dtype=bool)

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
