"""Class map and confidence of a Zarr store as DataArrays, read when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr

from segment_tiles.pipeline.outputs.stores.class_masks import masks_of
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_class_table, read_georef
from segment_tiles.pipeline.outputs.stores.volume_store import DIMENSIONS, read_geometry
from segment_tiles.workflows.face.labelled import class_map, require_xarray, with_georef

if TYPE_CHECKING:
    import xarray


def stored_classes(store: Path) -> xarray.DataArray:
    """Return the class codes of a store, with their names.

    Raises
    ------
    MissingExtraError
        If xarray and rioxarray are not installed.
    OutputError
        If it is not the store of a run, or was damaged.
    """
    require_xarray("the class map as a DataArray")
    group = open_store(store)
    dims = _dimensions(group)
    return _placed(class_map(_lazy(group, "classes"), read_class_table(group), dims, None), group)


def stored_confidence(store: Path) -> xarray.DataArray:
    """Return the confidence of a store.

    Raises
    ------
    MissingExtraError, OutputError
        As `stored_classes`.
    """
    require_xarray("the confidence as a DataArray")
    import xarray  # noqa: PLC0415 - of an extra

    group = open_store(store)
    dims = _dimensions(group)
    about = {"long_name": "highest probability x 255, 0 at nodata"}
    made = xarray.DataArray(_lazy(group, "confidence"), dims=dims, name="confidence", attrs=about)
    return _placed(made, group)


def stored_masks(store: Path) -> xarray.DataArray:
    """Return the masks of the classes of the model, which may overlap; 0 where there is no data.

    Raises
    ------
    MissingExtraError
        As `stored_classes`.
    OutputError
        As `stored_classes`, and if the classes exclude each other.
    """
    require_xarray("masks as a DataArray")
    import xarray  # noqa: PLC0415 - of an extra

    group = open_store(store)
    made = xarray.DataArray(
        _lazy(group, "masks"),
        dims=("class", *_dimensions(group)),
        coords={"class": _names_of_masks(group)},
        name="masks",
        attrs={"long_name": "1 if a pixel has the class, else 0"},
    )
    return _placed(made, group)


def _names_of_masks(group: zarr.Group) -> list[str]:
    """Return the names of the classes of the model: of a run with a reclass those that they became."""
    masks, names = masks_of(group), {entry.code: entry.name for entry in read_class_table(group).classes}
    return [] if masks is None else [names[code] for code in masks.codes[:-1]]


def _dimensions(group: zarr.Group) -> tuple[str, ...]:
    """Return the names of the axes: of several planes those of a volume."""
    return DIMENSIONS if array_of(group, "classes").ndim == 3 else ("y", "x")


def _lazy(group: zarr.Group, name: str) -> Any:
    """Return an array in chunks that are the shards of the store: each is one file."""
    array = array_of(group, name)
    return da.from_array(array, chunks=array.shards or array.chunks, name=False)


def _placed(array: xarray.DataArray, group: zarr.Group) -> xarray.DataArray:
    if len(_dimensions(group)) == 2:
        return with_georef(array, read_georef(group))
    geometry = read_geometry(group)
    matrix = np.asarray(geometry.slicing.affine_of(geometry.spec))
    return array.assign_attrs(slice_row_column_to_ras_mm=matrix.ravel().tolist())
