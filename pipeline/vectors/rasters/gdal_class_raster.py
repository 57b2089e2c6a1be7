"""Class rasters through GDAL: GeoTIFF and anything else with integer values."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.errors import ReadFailedError, SegmentTilesError, VectorError
from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.grid.palette import class_color
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS, said
from segment_tiles.pipeline.sources.rasters.block_cache import block_cache_of_mib
from segment_tiles.pipeline.sources.rasters.masks import nodata_of_band, virtual_document
from segment_tiles.pipeline.sources.rasters.placement import Placed, placed, placement_notes
from segment_tiles.pipeline.sources.rasters.raster_file import gdal_settings
from segment_tiles.pipeline.sources.rasters.signalled_errors import signalled_errors_raised
from segment_tiles.pipeline.sources.rasters.spec import georef_of
from segment_tiles.pipeline.sources.whole_files import refuse_cut_files
from segment_tiles.pipeline.vectors.rasters.class_band import class_band, refuse_photograph
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName

CACHE_MIB = 32
"""GDAL's cache of decoded blocks; its default, a share of the machine's memory, would grow with the raster."""
MASKED = np.iinfo(np.int32).min
"""Nodata code of rasters whose invalid pixels are told by a mask band and not by a value."""
MASKED_WIDE = np.iinfo(np.int64).min
"""The same in rasters whose codes may have 32 bits or more."""
LARGEST_CODE = np.iinfo(np.int64).max
"""Of the columns of codes in vector files."""


class GdalClassRaster:
    """The band of a raster file that holds integer classes.

    Nodata is the declared value; if the file has a mask band instead, masked pixels read as ``MASKED`` or
    ``MASKED_WIDE``. Codes of 32 bits with a mask, and those of uint64, come as int64. Names come from the
    category names, colours from the colour table, if there are any.
    """

    def __init__(self, name: RasterName, band: int | None = None) -> None:
        self._path, self._settings = shown_name(str(name)), {**gdal_settings(str(name)), "VSI_CACHE": False}
        self._failed: ReadFailedError | None = None
        refuse_cut_files(str(name))
        try:
            with rasterio.Env(**self._settings), block_cache_of_mib(CACHE_MIB):
                self._raster = placed(rasterio.open(name), self._path)
                self._dataset = self._raster.dataset
        except GDAL_ERRORS as error:
            msg = f"{self._path} cannot be opened as a class raster: {said(error)}"
            raise VectorError(msg) from error
        try:
            self._band = class_band(self._path, self._raster.file, band)
            self._has_mask_band = _has_mask_band(self._dataset, self._band)
            self._nodata = _nodata(self._raster.file, self._band)
            self.spec = _spec(name, self._raster, self._band, has_mask_band=self._has_mask_band)
            if band is None and not self.spec.classes:
                refuse_photograph(self._path, self.spec, self.read)
        except SegmentTilesError:
            self._raster.close()
            raise
        except GDAL_ERRORS as error:
            self._raster.close()
            msg = f"{self._path} cannot be read as a class raster: {said(error)}"
            raise VectorError(msg) from error

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns.

        Raises
        ------
        ReadFailedError
            If GDAL signals an error, and from then on always: it keeps zeros for what it could not read.
        """
        if self._failed is not None:
            raise self._failed
        box = RasterioWindow(window.column, window.row, window.width, window.height)
        try:
            with (
                rasterio.Env(**self._settings),
                block_cache_of_mib(CACHE_MIB),
                signalled_errors_raised(),
            ):
                codes = self._dataset.read(self._band, window=box)
                mask = self._dataset.read_masks(self._band, window=box) if self._has_mask_band else None
        except GDAL_ERRORS as error:
            msg = f"reading rows {window.row} to {window.row_stop} of {self._path} failed: {said(error)}"
            self._failed = ReadFailedError(msg)
            raise self._failed from error
        if mask is None and codes.dtype.name == self.spec.dtype:
            return np.asarray(codes)
        hidden = np.zeros(codes.shape, np.bool_) if mask is None else mask == 0
        # a warped view keeps values, and not what they mean
        if self._nodata is not None and (mask is None or self._raster.is_warped):
            hidden |= codes == self._nodata
        return self._widened(codes, hidden)

    def _widened(self, codes: NDArray[np.integer], hidden: NDArray[np.bool_]) -> NDArray[np.integer]:
        """Return codes in the wider type of the spec, whose lowest number stands for pixels without a class."""
        shown = codes[~hidden]
        if codes.dtype == np.uint64 and shown.size and shown.max() > LARGEST_CODE:
            msg = f"{self._path} has the class code {shown.max()}; {LARGEST_CODE} is the largest that can be kept"
            raise VectorError(msg)
        dtype = np.dtype(self.spec.dtype)
        return np.where(hidden, np.iinfo(dtype).min, codes.astype(dtype))

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Refuse: a GDAL class raster carries no confidence."""
        msg = f"{self._path} has no confidence band; window {window}"
        raise VectorError(msg)

    def close(self) -> None:
        """Close the file."""
        self._raster.close()


def _has_mask_band(dataset: rasterio.DatasetReader, band: int) -> bool:
    """Return whether a mask tells which pixels have a class: of all bands, of this one, or NODATA_VALUES."""
    return set(dataset.mask_flag_enums[band - 1]) not in ({MaskFlags.all_valid}, {MaskFlags.nodata})


def _nodata(file: rasterio.DatasetReader, band: int) -> int | None:
    """Return the nodata value that GDAL applies to a band; in integers it cuts off a fraction."""
    value = nodata_of_band(file, band)
    return None if value is None or not math.isfinite(value) else int(value)


def _spec(name: RasterName, raster: Placed, band: int, *, has_mask_band: bool) -> ClassRasterSpec:
    dataset = raster.dataset
    dtype = np.dtype(dataset.dtypes[band - 1])
    if dtype.kind not in "iu":
        msg = (
            f"{shown_name(str(name))} has values of type {dtype.name}; class codes must be integers: "
            "save the class map as uint8 or uint16"
        )
        raise VectorError(msg)
    kept = _kept_type(dtype, has_mask_band=has_mask_band)
    nodata = _nodata(raster.file, band)
    if has_mask_band or (nodata is not None and kept != dtype):
        nodata = int(np.iinfo(kept).min)
    return ClassRasterSpec(
        height=dataset.height,
        width=dataset.width,
        dtype=kept.name,
        nodata=nodata,
        georef=georef_of(dataset, shown_name(str(name))),
        classes=_classes(name, raster.file, band),
        notes=tuple(placement_notes(raster, str(name))),
    )


def _kept_type(dtype: np.dtype[np.integer], *, has_mask_band: bool) -> np.dtype[np.integer]:
    """Return the type that holds the codes of a file, and a number more for pixels that a mask hides."""
    if has_mask_band and dtype.itemsize < np.dtype(np.int32).itemsize:
        return np.dtype(np.int32)
    return np.dtype(np.int64) if has_mask_band or dtype == np.uint64 else dtype


def _classes(name: RasterName, dataset: rasterio.DatasetReader, band: int) -> tuple[MapClass, ...]:
    """Return names and colours of the codes that the file describes."""
    names = _category_names(Path(f"{name}.aux.xml"), band) or _names_known_to_gdal(dataset, band)
    try:
        colors = dataset.colormap(band)
    except ValueError:  # what rasterio raises for a band without a colour table
        colors = {}
    codes = range(len(names)) if names else ()
    return tuple(
        MapClass(code, names[code] or f"class {code}", _rgb(colors.get(code), code)) for code in codes
    ) or tuple(
        MapClass(code, f"class {code}", _rgb(color, code))
        for code, color in sorted(colors.items())
        if any(color[:3])
    )


def _rgb(color: tuple[int, ...] | None, code: int) -> tuple[int, int, int]:
    return class_color(code) if color is None else (color[0], color[1], color[2])


def _names_known_to_gdal(dataset: rasterio.DatasetReader, band: int) -> list[str]:
    """Return the category names of formats that hold them, and of sidecars in archives and on servers."""
    found = virtual_document(dataset).find(f"VRTRasterBand[@band='{band}']/CategoryNames")
    return [] if found is None else [category.text or "" for category in found]


def _category_names(sidecar: Path, number: int) -> list[str]:
    """Return the category names of GDAL's sidecar (PAM), which rasterio does not read."""
    if not sidecar.is_file():
        return []
    try:
        root = ElementTree.parse(sidecar).getroot()
    except ElementTree.ParseError as error:
        msg = f"{sidecar} is not readable XML ({error}); repair or remove it"
        raise VectorError(msg) from error
    bands = [element for element in root.iter("PAMRasterBand") if element.get("band", "1") == str(number)]
    band = bands[0] if bands else None
    categories = None if band is None else band.find("CategoryNames")
    return [] if categories is None else [category.text or "" for category in categories]
