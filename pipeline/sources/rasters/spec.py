"""The bands of a raster file that are read, and what is known of them without reading a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from pyproj.exceptions import ProjError
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.accepted import AlphaUse
from segment_tiles.pipeline.errors import SourceError, UsageError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.rasters.masks import MaskPlan, alpha_bands, data_bands
from segment_tiles.pipeline.sources.rasters.placement import Placed
from segment_tiles.pipeline.sources.rasters.signalled_errors import raise_signalled


def chosen_bands(raster: Placed, bands: Sequence[int] | None, alpha: AlphaUse, uri: str) -> tuple[int, ...]:
    """Return the 1-based bands to read.

    Raises
    ------
    SourceError
        If the file has none of its own.
    UsageError
        If one is asked for that the file does not have.
    """
    file = raster.file
    if file.count == 0:
        names = ", ".join(file.subdatasets[:5]) or "none"
        msg = f"{uri}: has no bands of its own; give one of its subdatasets ({names})"
        raise SourceError(msg)
    chosen = data_bands(file, alpha) if bands is None else tuple(bands)
    for band in chosen:
        if not 1 <= band <= file.count:
            msg = f"--bands names band {band}, but {uri} has bands 1 to {file.count}"
            raise UsageError(msg)
    as_data = [band for band in alpha_bands(file) if band in chosen]
    if raster.is_warped and as_data:
        msg = (
            f"{uri}: band {as_data[0]} is tagged alpha and cannot be read as data while the file is placed by its "
            f"{raster.by}; apply them first: gdalwarp"
        )
        raise UsageError(msg)
    return chosen


def raster_spec(
    raster: Placed, bands: Sequence[int], plan: MaskPlan, uri: str, *, is_overview: bool = False
) -> RasterSpec:
    """Return the spec of chosen bands, of the file or of one of its overviews.

    Raises
    ------
    SourceError
        If they are neither integers nor floats.
    """
    file, dataset = raster.file, raster.dataset
    dtype = np.result_type(*(np.dtype(file.dtypes[band - 1]) for band in bands))
    if dtype.kind not in "uif":
        msg = f"{uri}: holds {dtype.name} values; only integers and floats can be segmented"
        raise SourceError(msg)
    names = tuple(file.descriptions[band - 1] or "" for band in bands)
    return RasterSpec(
        bands=len(bands),
        height=dataset.height,
        width=dataset.width,
        dtype=dtype.name,
        georef=georef_of(dataset, uri, is_overview=is_overview),
        nodata=plan.nodata,
        band_names=names if any(names) else (),
        band_numbers=tuple(bands),
        scale_offsets=_scale_offsets(file, bands),
        chunk=tuple(dataset.block_shapes[0]),
        decoded_bytes=_cached_bytes(file, bands),
        color_tables=tuple(band for band in bands if file.colorinterp[band - 1] == ColorInterp.palette),
        has_no_holes=dtype.kind != "f" and not plan.can_mark,
    )


def _scale_offsets(file: Any, bands: Sequence[int]) -> tuple[tuple[float, float], ...]:
    found = tuple((float(file.scales[band - 1]), float(file.offsets[band - 1])) for band in bands)
    return () if set(found) <= {(1.0, 0.0)} else found


def georef_of(dataset: Any, uri: str, *, is_overview: bool = False) -> GeoRef:
    """Return where an open raster lies.

    Raises
    ------
    SourceError
        If its pixels have no size, or its CRS is not understood.
    """
    transform = dataset.transform
    crs = dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else None
    if crs is None and (transform.determinant == 0 or (is_overview and transform.is_identity)):
        # GDAL gives overviews of a raster that has no transform no size of pixels, or (3.12) that of the raster's
        with rasterio.open(dataset.name) as full:
            if full.transform.is_identity:
                return GeoRef.of_pixels().scaled(full.height / dataset.height, full.width / dataset.width)
    if not all(map(math.isfinite, transform)) or transform.determinant == 0:
        shown = ", ".join(f"{number:g}" for number in transform.to_gdal())
        msg = (
            f"{uri}: its pixels have no size: its geotransform is {shown}; set another one: "
            "gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM"
        )
        raise SourceError(msg)
    georef = GeoRef.from_affine(transform, crs)
    try:
        georef.crs  # noqa: B018 - every result needs it
    except ProjError as error:
        msg = f"{uri}: its CRS is not understood ({one_line(error)}); set another one: gdal_edit.py -a_srs EPSG:CODE"
        raise SourceError(msg) from error
    return georef


def _cached_bytes(file: Any, bands: Sequence[int]) -> int:
    """Return the bytes that GDAL's cache holds for one pixel: with a band come those that lie between its values."""
    sizes = [int(np.dtype(name).itemsize) for name in file.dtypes]
    lie_between = file.interleaving == Interleaving.pixel
    read = range(1, file.count + 1) if lie_between else {*bands, *alpha_bands(file)}
    flags = {flag for band in file.mask_flag_enums for flag in band}
    masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    return sum(sizes[band - 1] for band in read) + int(masked)


def has_one_type(file: Any, bands: Sequence[int]) -> bool:
    """Return whether GDAL can read these bands in one go."""
    return len({file.dtypes[band - 1] for band in bands}) == 1


def holes_are_nodata(raster: Placed, bands: Sequence[int], plan: MaskPlan) -> bool:
    """Return whether a chunk that a GeoTIFF does not have reads as missing pixels in all bands.

    GDAL fills such chunks with the declared nodata value of the band, rounded to its type.
    """
    if raster.is_warped or raster.file.driver != "GTiff" or not plan.nodata:
        return False
    declared = [raster.file.nodatavals[band - 1] for band in bands]
    return all(
        found is not None and found == applied for found, applied in zip(declared, plan.nodata, strict=True)
    )


def is_hole(dataset: Any, bands: Sequence[int], window: Window) -> bool:
    """Return whether a GeoTIFF says of no chunk of a window where it lies."""
    for band in bands:
        rows, columns = dataset.block_shapes[band - 1]
        for down in range(window.row // rows, (window.row_stop - 1) // rows + 1):
            for across in range(window.column // columns, (window.column_stop - 1) // columns + 1):
                if dataset.get_tag_item(f"BLOCK_OFFSET_{across}_{down}", "TIFF", bidx=band):
                    return False
                raise_signalled()
    return True


def rasterio_window(window: Window) -> RasterioWindow:
    """Return a window as rasterio has it."""
    return RasterioWindow(window.column, window.row, window.width, window.height)
