"""Plain OME-TIFF: any channels, planes and types, pyramid in sub-IFDs, through tifffile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import ParseError

import zarr

from segment_tiles.pipeline.errors import MissingExtraError, SourceError, one_line
from segment_tiles.pipeline.sources.image_pyramid import ImageDescription, ImagePyramid
from segment_tiles.pipeline.sources.physical_size import micrometers
from segment_tiles.pipeline.sources.view import View


def open_ome_tiff(path: str, view: View, cache_bytes: int) -> ImagePyramid:
    """Open the largest image of an OME-TIFF.

    Raises
    ------
    MissingExtraError
        Where tifffile is not installed.
    SourceError
        Where the file is damaged or holds no image.
    UsageError
        Where the plane that was chosen does not exist.
    """
    try:
        import tifffile  # noqa: PLC0415 - of an extra
    except ImportError as error:
        msg = f"{path}: OME-TIFF needs tifffile; pip install 'segment-tiles[slides]'"
        raise MissingExtraError(msg) from error
    file = None
    try:
        file = tifffile.TiffFile(path)
        number, series = max(enumerate(file.series), key=lambda entry: entry[1].size)
        stores = [series.aszarr(level=i) for i in range(len(series.levels))]
        arrays = [zarr.open_array(store, mode="r") for store in stores]
        description = _description(tifffile.xml2dict(file.ome_metadata or ""), number, series)
    except (
        tifffile.TiffFileError,
        ParseError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OSError,
    ) as error:
        if file is not None:
            file.close()
        msg = f"{path}: is a damaged OME-TIFF ({one_line(error)}); copy or export it again"
        raise SourceError(msg) from error
    try:
        return ImagePyramid(path, arrays, description, view, cache_bytes, file.close)
    except BaseException:
        file.close()
        raise


def _description(document: Mapping[str, Any], number: int, series: Any) -> ImageDescription:
    images = _several(document["OME"]["Image"])
    pixels = images[number]["Pixels"]
    channels = [str(entry.get("Name", "")) for entry in _several(pixels.get("Channel", []))]
    axes = tuple(series.axes.lower())
    return ImageDescription(
        kind="OME-TIFF",
        axes=axes,
        mpp=_pixel_size(pixels),
        channels=("red", "green", "blue") if "s" in axes and "c" not in axes else tuple(channels),
        is_slide="s" in axes,
        details={"images": len(images), "name": images[number].get("Name")},
    )


def _pixel_size(pixels: Mapping[str, Any]) -> tuple[float, float] | None:
    sides = [
        micrometers(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in ("Y", "X")
    ]
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _several(value: Any) -> list[Any]:
    """Return a list: the parser gives one XML element as itself, several as a list."""
    return list(value) if isinstance(value, list) else [value]
