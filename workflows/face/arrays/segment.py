"""`segment_array`: an array in memory, or a lazy one, in; class codes of the same sort out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack, overload

import numpy as np

from segment_tiles.workflows.config import RunConfig, run_config_from
from segment_tiles.workflows.face.arrays.plain import bands_first, class_codes, is_dask, plain_spec
from segment_tiles.workflows.face.keywords import ArrayKeywords
from segment_tiles.workflows.face.progress import Progress
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.keywords import values_of

if TYPE_CHECKING:
    import dask.array
    import xarray
    from numpy.typing import NDArray

ARRAY_OPTIONS: Final = tuple(
    entry for entry in options_of(RunConfig) if entry.keyword in ArrayKeywords.__annotations__
)
"""Options of a run that mean something for an array."""


@overload
def segment_array(
    image: NDArray[Any], *, progress: Progress | None = None, **options: Unpack[ArrayKeywords]
) -> NDArray[Any]: ...
@overload
def segment_array(
    image: xarray.DataArray, *, progress: Progress | None = None, **options: Unpack[ArrayKeywords]
) -> xarray.DataArray: ...
@overload
def segment_array(
    image: dask.array.Array, *, progress: Progress | None = None, **options: Unpack[ArrayKeywords]
) -> dask.array.Array: ...
def segment_array(image: Any, *, progress: Progress | None = None, **options: Unpack[ArrayKeywords]) -> Any:
    """Return the class codes of an image in memory; nothing is written.

    The codes are those of `segment` on the same pixels in a file. A DataArray with a CRS whose pixels on the ground are
    unlike those that the model was trained at is resampled for the model as a file is, and the codes lie on its own
    pixels again; ``resolution="native"`` reads it as it is, a number at so many metres per pixel.

    Parameters
    ----------
    image
        - `numpy.ndarray`: bands x rows x columns, or rows x columns of one band. Masked pixels, NaN and infinity are
          missing.
        - `xarray.DataArray`: y and x by any names that rioxarray knows, and one dimension of bands or none. The
          result has its coordinates and its CRS, and the class names as ``flag_meanings``.
        - `dask.array.Array`, or a DataArray of one: the result is lazy. Its chunks are Regions, each computed when it
          is asked for, with the same codes for any scheduler and any chunks of the input. If precision, backend or
          batch are left open, they are chosen at once on some pixels about the middle, the first time that a
          model sees such a scene.
    progress
        Called with tiles done and tiles in all; not for a lazy image.
    **options
        ``model``, which is needed, ``head``, ``tile``, ``overlap``, ``blend``, ``batch``, ``device``, ``precision``,
        ``backend``, ``tta``, ``bands``, ``nodata``, ``nodata_rule``, ``resolution``, ``scaling``, ``threshold``,
        ``unsure``, ``trust``: as for `segment`.

    Returns
    -------
    numpy.ndarray, xarray.DataArray or dask.array.Array
        rows x columns, of the sort of ``image``: codes of the classes, ``uint8`` with nodata 255; of more than 255
        classes ``uint16`` with nodata 65535. Of a model whose classes may overlap classes x rows x columns,
        ``uint8``: 1 if a pixel has the class, else 0, nodata 255; a DataArray has their names along its dimension
        ``class``.

    Raises
    ------
    TypeError
        If ``image`` is none of these, a keyword is no option, or ``model`` is missing.
    SegmentTilesError
        If image, model and options do not fit each other.

    Examples
    --------
    >>> import rasterio, rioxarray
    >>> import segment_tiles as st
    >>> with rasterio.open("scene.tif") as scene:
    ...     pixels = scene.read()
    >>> pixels.shape
    (3, 450, 500)
    >>> st.segment_array(pixels, model="canopy-rgb").shape
    (450, 500)

    With coordinates, CRS and class names:

    >>> classes = st.segment_array(rioxarray.open_rasterio("scene.tif"), model="canopy-rgb")
    >>> classes.attrs["flag_meanings"]
    'other tree_canopy'
    >>> classes.rio.crs.to_epsg()
    32612

    Lazily, piece by piece, however large the scene is:

    >>> chunks = {"x": 256, "y": 256}
    >>> lazy = st.segment_array(rioxarray.open_rasterio("scene.tif", chunks=chunks), model="canopy-rgb")
    >>> bool((lazy == classes).all())
    True
    """
    config = array_config(options)
    if is_data_array(image):
        from segment_tiles.workflows.face.arrays.data_array import segmented_data_array  # noqa: PLC0415 - of an extra

        return segmented_data_array(image, config, progress)
    if not isinstance(image, np.ndarray) and not is_dask(image):
        kind = type(image)
        msg = (
            f"the image is a {kind.__module__}.{kind.__qualname__}; give a numpy.ndarray, an xarray.DataArray or a "
            "dask.array.Array, and to segment_tiles.segment the name of a file"
        )
        raise TypeError(msg)
    values = bands_first(image, config)
    codes, _ = class_codes(values, plain_spec(values), config, progress)
    return codes


def array_config(options: Any) -> RunConfig:
    """Return what is asked for of an array.

    Raises
    ------
    TypeError, UsageError
        If a keyword is no option of an array, or a value is wrong.
    """
    values_of(ARRAY_OPTIONS, options)  # refuses those of a run that mean nothing for an array
    return run_config_from(source="the array", out=Path(), **options)


def is_data_array(image: object) -> bool:
    """Return whether an image is one of xarray, which is then imported already."""
    module = sys.modules.get("xarray")
    return module is not None and isinstance(image, module.DataArray)
