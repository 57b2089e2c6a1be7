"""Plain OME-TIFF: any channels, planes and types, pyramid in sub-IFDs, through tifffile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.sources.pyramids.image_pyramid import ImageDescription, ImagePyramid
from segment_tiles.pipeline.sources.pyramids.physical_size import micrometers
from segment_tiles.pipeline.sources.pyramids.tiff_series import (
    DAMAGE,
    close_file,
    largest_series,
    levels_of,
    tifffile_for,
)
from segment_tiles.pipeline.sources.view import View


def open_ome_tiff(path: str, view: View, cache_bytes: int) -> ImagePyramid:
    """Open the largest image of an OME-TIFF.

    Raises
    ------
    MissingExtraError
        If tifffile, or a codec that it needs, is not installed.
    SourceError
        If the file is damaged or holds no image.
    UsageError
        If the plane that was chosen does not exist.
    """
    tifffile = tifffile_for(path, "OME-TIFF")
    file = None
    try:
        file = tifffile.TiffFile(path)
        series = largest_series(path, tifffile, file)
        document = tifffile.xml2dict(file.ome_metadata or "")
        description = _description(document, file.series.index(series), series)
        return ImagePyramid(path, levels_of(series), description, view, cache_bytes, file.close)
    except (tifffile.TiffFileError, *DAMAGE) as error:
        close_file(file)
        msg = f"{path}: is a damaged OME-TIFF ({one_line(error)}); copy or export it again"
        raise SourceError(msg) from error
    except BaseException:
        close_file(file)
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
