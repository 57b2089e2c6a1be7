"""Labels that are rasters: any class raster, or the class map of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from segment_tiles.pipeline.errors import TrainingError, VectorError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS, said
from segment_tiles.pipeline.sources.rasters.masks import alpha_bands, nodata_of_band
from segment_tiles.pipeline.sources.rasters.placement import placed
from segment_tiles.pipeline.sources.rasters.raster_file import gdal_settings
from segment_tiles.pipeline.sources.rasters.signalled_errors import signalled_errors_raised
from segment_tiles.pipeline.sources.rasters.spec import georef_of
from segment_tiles.pipeline.sources.whole_files import refuse_cut_files
from segment_tiles.pipeline.vectors.rasters.class_band import class_band
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster


class RasterLabels:
    """A class raster, warped to the grid of the scene by nearest neighbour if it has another one."""

    _zero_is_known: ClassVar[bool] = False
    """Whether a pixel of 0 has a label although the file declares 0 as nodata."""

    def __init__(self, scene: SceneSettings, path: str, spec: RasterSpec, class_names: Sequence[str]) -> None:
        self.notes: tuple[str, ...] = ()
        self._scene, self._path, self._names = scene.name, path, class_names
        self._failed: TrainingError | None = None
        refuse_cut_files(path)
        try:
            with rasterio.Env(**gdal_settings(path)):
                self._raster = placed(rasterio.open(path), path)
        except GDAL_ERRORS as error:
            msg = f"labels of scene {scene.name} cannot be read from {path}: {said(error)}"
            raise TrainingError(msg) from error
        self._file = self._raster.dataset
        self._codes = _code_table(scene.class_values, class_names) | ignored_codes(scene)
        try:
            self._band = self._only_band()
            flags = self._file.mask_flag_enums[self._band - 1]
            self._applies_masks = MaskFlags.all_valid not in flags
            self._nodata = nodata_of_band(self._raster.file, self._band)
            if self._nodata == 0 and self._zero_is_known:
                self._nodata = None
                self._applies_masks &= flags != [MaskFlags.nodata]
            self._alpha: int | None = None
            georef_of(self._file, path)  # refuses pixels without a size
            self._grid = self._on_grid(spec)
        except GDAL_ERRORS as error:
            self._raster.close()
            msg = f"labels of scene {scene.name} cannot be read from {path}: {said(error)}"
            raise TrainingError(msg) from error

    def _only_band(self) -> int:
        try:
            return class_band(self._path, self._raster.file, None)
        except VectorError as error:
            self._raster.close()
            msg = f"labels of scene {self._scene}: {one_line(error)}"
            raise TrainingError(msg) from error

    def _on_grid(self, spec: RasterSpec) -> rasterio.DatasetReader | WarpedVRT:
        if self._file.shape == (spec.height, spec.width):
            covers, self.notes = covers_scene(self._file.crs, self._file.transform, spec, self._scene)
            if covers:
                return self._file
        if self._file.crs is None or spec.georef.crs_wkt is None:
            msg = (
                f"{self._path} is {self._file.width} x {self._file.height} and has "
                f"{'no CRS' if self._file.crs is None else 'a CRS'}; the scene {self._scene} is "
                f"{spec.width} x {spec.height}: the same grid, or a CRS in both, is needed"
            )
            raise TrainingError(msg)
        self._refuse_no_overlap(spec)
        # no value says "outside" if every one may be a label: an alpha band does
        by_alpha = self._nodata is None
        warped = WarpedVRT(
            self._file,
            crs=spec.georef.crs_wkt,
            transform=spec.georef.affine,
            width=spec.width,
            height=spec.height,
            resampling=Resampling.nearest,
            src_nodata=self._nodata,
            nodata=self._nodata,
            add_alpha=by_alpha and not alpha_bands(self._file),
        )
        if by_alpha:
            self._alpha = alpha_bands(warped)[-1]
        self.notes = (f"{self._scene}: the label raster was warped to the grid of the scene",)
        return warped

    def _refuse_no_overlap(self, spec: RasterSpec) -> None:
        """Raise if the raster and the scene do not overlap."""
        width, height = spec.width, spec.height
        corners = [
            spec.georef.affine @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))
        ]
        xs, ys = zip(*corners, strict=True)
        try:
            left, bottom, right, top = transform_bounds(
                self._file.crs, CRS.from_wkt(str(spec.georef.crs_wkt)), *self._file.bounds
            )
        except (CRSError, RasterioError) as error:
            msg = f"{self._path} cannot be brought into the CRS of scene {self._scene}: {one_line(error)}"
            raise TrainingError(msg) from error
        if left < max(xs) and right > min(xs) and bottom < max(ys) and top > min(ys):
            return
        msg = (
            f"{self._path} does not overlap the scene {self._scene}: in the CRS of the scene it reaches from "
            f"{left:.6g}, {bottom:.6g} to {right:.6g}, {top:.6g}, the scene from "
            f"{min(xs):.6g}, {min(ys):.6g} to {max(xs):.6g}, {max(ys):.6g}: check the CRS of both"
        )
        raise TrainingError(msg)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        values, shown = self._values(window)
        codes = np.full(window.shape, IGNORE_CODE, dtype=np.uint8)
        for value in np.unique(values if shown is None else values[shown]).tolist():
            if value == self._nodata or math.isnan(value):
                continue
            if value not in self._codes:
                msg = (
                    f"labels of scene {self._scene} have the code {value}; "
                    f"accepted are {', '.join(map(str, self._codes))}: "
                    "name it in class_values (--class-value of evaluate)"
                )
                raise TrainingError(msg)
            codes[values == value] = self._codes[value]
        return codes if shown is None else np.where(shown, codes, np.uint8(IGNORE_CODE))

    def _values(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return the pixels of a window, and which of them are valid; None: all."""
        box = rasterio.windows.Window(window.column, window.row, window.width, window.height)
        if self._failed is not None:
            raise self._failed  # GDAL leaves zeros in what it could not read
        try:
            with rasterio.Env(**gdal_settings(self._path)), signalled_errors_raised():
                values = self._grid.read(self._band, window=box)
                if self._alpha is not None:
                    return values, self._grid.read(self._alpha, window=box) > 0
                shown = self._grid.read_masks(self._band, window=box) > 0 if self._applies_masks else None
        except GDAL_ERRORS as error:
            msg = (
                f"labels of scene {self._scene}: {self._path} cannot be read in rows {window.row} to "
                f"{window.row_stop} ({said(error)}); check the file or the connection"
            )
            self._failed = TrainingError(msg)
            raise self._failed from error
        return values, shown

    def close(self) -> None:
        """Close the file."""
        if self._grid is not self._file:
            self._grid.close()
        self._raster.close()


def covers_scene(
    crs: CRS | None, transform: Affine, spec: RasterSpec, scene: str
) -> tuple[bool, tuple[str, ...]]:
    """Return whether labels of the size of the scene cover it pixel for pixel, and notes.

    Parameters
    ----------
    crs, transform
        Of the labels; an identity says that there is none.
    spec, scene
        The scene, and its name.
    """
    wkt = spec.georef.crs_wkt
    if wkt is None:
        both_bare = crs is None and transform.is_identity and spec.georef.unit == "pixel"
        if both_bare or (crs is None and transform.almost_equals(spec.georef.affine)):
            return True, ()
        return True, (
            f"{scene}: the scene has no CRS, and the label raster lies elsewhere or has one; it has the size of the "
            "scene and is taken pixel for pixel",
        )
    if crs is None and transform.is_identity:
        return True, (
            f"{scene}: the label raster has no georeference; it has the size of the scene and is taken pixel for pixel",
        )
    same_crs = crs is None or crs == CRS.from_wkt(wkt)
    return bool(same_crs and transform.almost_equals(spec.georef.affine)), ()


def ignored_codes(scene: SceneSettings) -> dict[int, int]:
    """Return raster value -> code of no label."""
    try:
        return {int(value): IGNORE_CODE for value in scene.ignored_values}
    except ValueError as error:
        msg = (
            f"ignored_values of scene {scene.name} are codes of a label raster, so numbers: {one_line(error)}"
        )
        raise TrainingError(msg) from error


def _code_table(class_values: Mapping[str, str], class_names: Sequence[str]) -> dict[int, int]:
    """Return raster value -> class code."""
    if not class_values:
        return {code: code for code in range(len(class_names))} | {IGNORE_CODE: IGNORE_CODE}
    try:
        return {int(value): class_names.index(name) for value, name in class_values.items()}
    except ValueError as error:
        msg = f"class_values of a label raster must map numbers to class names: {one_line(error)}"
        raise TrainingError(msg) from error


def class_map_store(path: str) -> Path | None:
    """Return the ``classes.zarr`` of a run's folder, or of its own path; None if the path is something else."""
    for folder in (Path(path) / "classes.zarr", Path(path)):
        if (folder / "zarr.json").is_file():
            return folder
    return None


def _is_same_grid(first: GeoRef, second: GeoRef) -> bool:
    if first.crs_wkt is None or second.crs_wkt is None:
        same_crs = first.crs_wkt == second.crs_wkt
    else:
        same_crs = pyproj.CRS(first.crs_wkt).equals(second.crs_wkt, ignore_axis_order=True)
    return same_crs and bool(first.affine.almost_equals(second.affine))


class ClassMapLabels:
    """The class map of a run as labels; its classes are known by name, pixels without a class have no label."""

    notes: tuple[str, ...] = ()

    def __init__(
        self, scene: SceneSettings, store: Path, spec: RasterSpec, class_names: Sequence[str]
    ) -> None:
        self._scene, self._names = scene, class_names
        self._map = ZarrClassRaster(store)
        ours = self._map.spec
        if (ours.height, ours.width) != (spec.height, spec.width) or not _is_same_grid(
            ours.georef, spec.georef
        ):
            msg = (
                f"{store} ({ours.width} x {ours.height}) lies on another grid or in another CRS than the scene "
                f"{scene.name} ({spec.width} x {spec.height}); give its classes.tif instead, which is warped: "
                f"segment-tiles export {store.parent} --format cog"
            )
            raise TrainingError(msg)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        values = self._map.read(window)
        codes = np.full(window.shape, IGNORE_CODE, dtype=np.uint8)
        for value in np.unique(values).tolist():
            if value != self._map.spec.nodata:
                codes[values == value] = self._code_of(value)
        return codes

    def _code_of(self, value: int) -> int:
        found = next((entry.name for entry in self._map.spec.classes if entry.code == value), str(value))
        name = self._scene.class_values.get(found, self._scene.class_values.get(str(value), found))
        if name not in self._names:
            msg = (
                f"labels of scene {self._scene.name} have the class {found!r}; accepted are "
                f"{', '.join(self._names)}: name it in class_values (--class-value of evaluate)"
            )
            raise TrainingError(msg)
        return self._names.index(name)

    def close(self) -> None:
        """Close the store."""
        self._map.close()
