"""xarray.DataArray in, DataArray out: coordinates and CRS stay, classes get their names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.sources.validity import for_bands, nodata_as
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.face.arrays.plain import class_codes
from segment_tiles.workflows.face.labelled import class_map, class_masks, require_xarray
from segment_tiles.workflows.face.progress import Progress

if TYPE_CHECKING:
    import xarray


def segmented_data_array(
    image: xarray.DataArray, config: RunConfig, progress: Progress | None
) -> xarray.DataArray:
    """Return the class codes of an image by its own coordinates; lazy if the image is.

    Raises
    ------
    SourceError
        If its dimensions are not rows and columns, with bands or without.
    MissingExtraError
        If rioxarray is not installed.
    """
    require_xarray("a DataArray")
    bands, y, x = _dimensions(image)
    image = image.transpose(bands, y, x) if bands is not None else image.transpose(y, x).expand_dims("band")
    count, height, width = image.shape
    spec = RasterSpec(
        count,
        height,
        width,
        image.dtype.name,
        _georef(image),
        nodata=for_bands(_declared_nodata(image), count),
        band_names=_band_names(image, bands),
        scale_offsets=_scale_offsets(image, count),
    )
    codes, table = class_codes(image.data, spec, config, progress)
    coords = {name: c for name, c in image.coords.items() if {y, x}.issuperset(c.dims) and name != bands}
    label = class_map if codes.ndim == 2 else class_masks
    made = label(codes, table, (y, x), coords)
    return made if image.rio.crs is None else made.rio.write_crs(image.rio.crs)


def _dimensions(image: xarray.DataArray) -> tuple[str | None, str, str]:
    """Return the names of bands, rows and columns; None if there is no dimension of bands."""
    from rioxarray.exceptions import MissingSpatialDimensionError  # noqa: PLC0415 - of an extra

    try:
        x, y = str(image.rio.x_dim), str(image.rio.y_dim)
    except MissingSpatialDimensionError as error:
        msg = (
            f"the DataArray has dimensions {_names(image)}; rows and columns must be y and x, or named with "
            "image.rio.set_spatial_dims(x_dim=..., y_dim=...)"
        )
        raise SourceError(msg) from error
    rest = [str(name) for name in image.dims if name not in {x, y}]
    if len(rest) > 1:
        further = next((name for name in rest if name.lower() != "band"), rest[0])
        msg = (
            f"the DataArray has dimensions {_names(image)}; bands, {y} and {x} are segmented: choose one of the "
            f"others, such as image.isel({further}=0)"
        )
        raise SourceError(msg)
    return (rest[0] if rest else None), y, x


def _names(image: xarray.DataArray) -> str:
    return ", ".join(map(str, image.dims))


def _georef(image: xarray.DataArray) -> GeoRef:
    crs = image.rio.crs
    wkt = None if crs is None else crs.to_wkt(version="WKT2_2019")
    return GeoRef.from_affine(image.rio.transform(), wkt)


def _declared_nodata(image: xarray.DataArray) -> float | None:
    """Return the value that marks a missing one, if this type can hold it; NaN always is missing."""
    declared: Any = image.rio.nodata
    if declared is None or math.isnan(declared):
        return None
    try:
        return nodata_as(image.dtype.name, float(declared))
    except UsageError:
        return None  # as of a raster: a mark that no pixel can have marks nothing


def _scale_offsets(image: xarray.DataArray, count: int) -> tuple[tuple[float, float], ...]:
    """Return scale and offset of every band, as rioxarray has them in the attributes of values that are stored ones."""
    named = image.attrs
    scales = named.get("scales", (named.get("scale_factor", 1.0),) * count)
    offsets = named.get("offsets", (named.get("add_offset", 0.0),) * count)
    found = tuple((float(scale), float(offset)) for scale, offset in zip(scales, offsets, strict=False))
    return () if len(found) != count or set(found) == {(1.0, 0.0)} else found


def _band_names(image: xarray.DataArray, bands: str | None) -> tuple[str, ...]:
    """Return the names of the bands: their coordinate if it is text, else ``long_name`` as rioxarray has it."""
    if bands is not None and bands in image.coords and image.coords[bands].dtype.kind in "UO":
        return tuple(str(name) for name in np.atleast_1d(image.coords[bands].values))
    names = image.attrs.get("long_name", ())
    given = (names,) if isinstance(names, str) else tuple(map(str, names))
    return given if len(given) == image.shape[0] else ()
