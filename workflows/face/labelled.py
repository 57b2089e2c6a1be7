"""Class codes with what xarray can say of them: class names as CF flags, coordinates of pixel centres, CRS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segment_tiles.pipeline.errors import MissingExtraError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef

if TYPE_CHECKING:
    import xarray


def require_xarray(what: str) -> None:
    """Refuse what needs xarray and rioxarray if they are not installed; else let DataArrays know their CRS.

    Raises
    ------
    MissingExtraError
        Naming the extra.
    """
    try:
        import rioxarray  # noqa: F401, PLC0415 - of an extra; gives DataArrays their accessor
    except ImportError as error:
        msg = f"{what} needs xarray and rioxarray: pip install 'segment-tiles[xarray]'"
        raise MissingExtraError(msg) from error


def class_attributes(table: ClassTable) -> dict[str, Any]:
    """Return attributes by the conventions for climate and forecast data: what each code means.

    ``flag_meanings`` parts names by blanks, so blanks in a name become underscores there; ``class_names`` has the
    names as they are, ``flag_colors`` the colours.

    >>> from segment_tiles.pipeline.grid.classes import MapClass
    >>> table = ClassTable((MapClass(0, "other", (0, 0, 0)), MapClass(1, "tall tree", (0, 128, 0))))
    >>> class_attributes(table)["flag_meanings"]
    'other tall_tree'
    """
    return {
        "long_name": "class",
        "flag_values": np.array(table.codes, dtype=table.dtype),
        "flag_meanings": " ".join("_".join(name.split()) for name in table.names),
        "flag_colors": " ".join("#{:02x}{:02x}{:02x}".format(*entry.color) for entry in table.classes),
        "class_names": list(table.names),
    }


def class_map(
    codes: Any,
    table: ClassTable,
    dims: tuple[str, ...],
    coords: Any,
) -> xarray.DataArray:
    """Return class codes with their meaning.

    Parameters
    ----------
    codes
        NumPy or Dask array.
    table
        What they mean; its nodata code is the array's ``_FillValue``.
    dims, coords
        Names of the axes, and coordinates.
    """
    import xarray  # noqa: PLC0415 - of an extra

    made = xarray.DataArray(codes, dims=dims, coords=coords, name="classes", attrs=class_attributes(table))
    placed: xarray.DataArray = made.rio.write_nodata(table.nodata)
    return placed


def class_masks(codes: Any, table: ClassTable, dims: tuple[str, ...], coords: Any) -> xarray.DataArray:
    """Return masks of classes that may overlap, with the names of these as coordinates of a dimension ``class``.

    Parameters
    ----------
    codes
        NumPy or Dask array, classes x rows x columns: 1 if a pixel has the class, else 0, nodata 255.
    table
        The classes.
    dims, coords
        Of rows and columns.
    """
    import xarray  # noqa: PLC0415 - of an extra

    made = xarray.DataArray(
        codes,
        dims=("class", *dims),
        coords={**({} if coords is None else dict(coords)), "class": list(table.names)},
        name="masks",
        attrs={"long_name": "1 if a pixel has the class, else 0"},
    )
    placed: xarray.DataArray = made.rio.write_nodata(255)
    return placed


def with_georef(array: xarray.DataArray, georef: GeoRef) -> xarray.DataArray:
    """Return (..., rows, columns) with pixel centres as y and x, if they are parallel to these, and the CRS.

    Parameters
    ----------
    array
        Of dimensions y and x, and perhaps some before them.
    georef
        Of its pixels.
    """
    a, b, c, d, e, f = georef.transform
    rows, columns = array.shape[-2:]
    if b == 0 and d == 0:
        array = array.assign_coords(
            y=("y", f + e * (np.arange(rows) + 0.5), _axis("Y", georef)),
            x=("x", c + a * (np.arange(columns) + 0.5), _axis("X", georef)),
        )
    if georef.crs_wkt is not None:
        array = array.rio.write_crs(georef.crs_wkt)
    placed: xarray.DataArray = array.rio.write_transform(georef.affine)
    return placed


def _axis(name: str, georef: GeoRef) -> dict[str, str]:
    return {"axis": name} | ({"units": georef.unit} if georef.crs_wkt is None else {})
