"""TIFFs of microscopes and stacks: planes and channels by what the file says of its pages, through tifffile.

ImageJ hyperstacks, QPTIFF, Zeiss LSM, MetaMorph STK, Micro-Manager and what else tifffile understands. A file of
several full-size pages that does not say what they are is refused: the first page alone would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from xml.etree.ElementTree import ParseError, fromstring

import zarr

from segment_tiles.pipeline.errors import MissingExtraError, SourceError, one_line
from segment_tiles.pipeline.sources.pyramids.image_pyramid import ImageDescription, ImagePyramid
from segment_tiles.pipeline.sources.pyramids.physical_size import micrometers
from segment_tiles.pipeline.sources.pyramids.tiff_pages import TiffPages, tiff_pages
from segment_tiles.pipeline.sources.view import View

NAMES: Final = {"imagej": "ImageJ TIFF", "qpi": "QPTIFF", "lsm": "Zeiss LSM", "stk": "MetaMorph STK",
                "mmstack": "Micro-Manager TIFF", "shaped": "TIFF with named axes"}  # fmt: skip
"""Kinds of tifffile, for people."""
SILENT: Final = ("generic", "uniform")
"""Kinds of files that do not say what their pages are."""
AXES: Final = frozenset("tczyxs")
QPTIFF_SOFTWARE: Final = "PerkinElmer-QPI"
CALIBRATED: Final = re.compile(r"^unit=(um|µm|micron|microns|\\u00B5m|nm|mm)\s*$", re.MULTILINE)
"""Line of ImageJ's description that gives pixels a size under the microscope."""
RESOLUTION_UNITS: Final = {2: "in", 3: "cm"}
"""Of TIFF's resolution tags."""
LARGEST_PIXEL: Final = 20.0
"""Micrometres; resolution tags that say larger pixels are those of a screen or a scanner (72 dpi = 353)."""
DAMAGE: Final = (ParseError, ValueError, KeyError, IndexError, TypeError, OSError, AttributeError)
"""What reading a damaged file raises."""


def is_series(pages: TiffPages) -> bool:
    """Return whether a TIFF without georeference and scanner is read by its series, not as its first page."""
    if pages.full_size > 1 or pages.imagej_planes > 1 or pages.software.startswith(QPTIFF_SOFTWARE):
        return True
    return pages.imagej_planes == 1 and CALIBRATED.search(pages.description) is not None


def open_tiff_series(path: str, view: View, cache_bytes: int) -> ImagePyramid:
    """Open the largest image of a TIFF of several planes or channels.

    Raises
    ------
    MissingExtraError
        If tifffile, or a codec that it needs, is not installed.
    SourceError
        If the file is damaged, or does not say what its pages are.
    UsageError
        If the plane that was chosen does not exist.
    """
    tifffile = tifffile_for(path, f"has {tiff_pages(path).full_size} full-size pages, and to read them")
    file = None
    try:
        file = tifffile.TiffFile(path)
        series = largest_series(path, tifffile, file)
        _check_known(path, series)
        return ImagePyramid(
            path, levels_of(series), _description(file, series), view, cache_bytes, file.close
        )
    except (tifffile.TiffFileError, *DAMAGE) as error:
        close_file(file)
        msg = f"{path}: is a damaged TIFF of several pages ({one_line(error)}); copy or export it again"
        raise SourceError(msg) from error
    except BaseException:
        close_file(file)
        raise


def tifffile_for(path: str, what: str) -> Any:
    """Return tifffile, which is an extra; ``what`` of the file needs it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import tifffile  # noqa: PLC0415 - of an extra
    except ImportError as error:
        msg = f"{path}: {what} needs tifffile; pip install 'segment-tiles[slides]'"
        raise MissingExtraError(msg) from error
    return tifffile


def largest_series(path: str, tifffile: Any, file: Any) -> Any:
    """Return the largest image of an open file.

    Raises
    ------
    MissingExtraError
        If a codec that it needs is not installed.
    SourceError
        If there are several of its size, or planes of it are missing.
    """
    series = max(file.series, key=lambda entry: entry.size)
    alike = sum(entry.shape == series.shape for entry in file.series)
    if alike > 1 and series.kind not in SILENT:
        msg = f"{path}: holds {alike} images of the same size; export one of them to a file of its own"
        raise SourceError(msg)
    missing = sum(page is None for page in series.pages)
    if missing:
        msg = f"{path}: {missing} of its {len(series.pages)} planes are in no file beside it; copy all its files"
        raise SourceError(msg)
    _check_codec(path, tifffile, series)
    return series


def levels_of(series: Any) -> list[zarr.Array[Any]]:
    """Return the levels of an image of tifffile, full resolution first."""
    stores = [series.aszarr(level=i) for i in range(len(series.levels))]
    return [zarr.open_array(store, mode="r") for store in stores]


def _check_codec(path: str, tifffile: Any, series: Any) -> None:
    """Refuse, before anything is computed, a compression for which no decoder is installed.

    Raises
    ------
    MissingExtraError
        Naming the compression.
    """
    compression = series.keyframe.compression
    try:
        tifffile.TIFF.DECOMPRESSORS[compression]
    except KeyError as error:
        name = getattr(compression, "name", str(compression))
        msg = (
            f"{path}: is compressed as {name}, which needs imagecodecs ({one_line(error)}); "
            "pip install 'segment-tiles[slides]'"
        )
        raise MissingExtraError(msg) from error


def close_file(file: Any) -> None:
    """Close what was opened, if it was."""
    if file is not None:
        file.close()


def _check_known(path: str, series: Any) -> None:
    """Refuse pages of which the file does not say what they are."""
    axes = series.axes.lower()
    unknown = [axis for axis, size in zip(axes, series.shape, strict=True) if size > 1 and axis not in AXES]
    if series.kind in SILENT or unknown:
        pages = tiff_pages(path).full_size
        msg = (
            f"{path}: has {pages} full-size pages and does not say what they are; give one of them as "
            f"GTIFF_DIR:1:{path} (to GTIFF_DIR:{pages}:...), or export it as OME-TIFF with named axes"
        )
        raise SourceError(msg)


def _description(file: Any, series: Any) -> ImageDescription:
    axes = tuple(series.axes.lower())
    return ImageDescription(
        kind=NAMES.get(series.kind, f"TIFF, {series.kind}"),
        axes=axes,
        mpp=_pixel_size(file, series),
        channels=_channels(series, axes),
        is_slide=series.kind == "qpi" and "s" in axes,
        details={"images": len(file.series), "name": series.name},
    )


def _channels(series: Any, axes: Sequence[str]) -> tuple[str, ...]:
    if "s" in axes and series.shape[axes.index("s")] == 3:
        return ("red", "green", "blue")
    if series.kind == "qpi":
        return tuple(_name_of(page) for page in series.pages)
    return ()


def _name_of(page: Any) -> str:
    """Return the name of the channel on a page of QPTIFF, "" if it has none."""
    try:
        return fromstring(page.description).findtext("Name") or ""
    except ParseError:
        return ""


def _pixel_size(file: Any, series: Any) -> tuple[float, float] | None:
    """Return height and width of a full-resolution pixel in micrometres; None if the file does not say."""
    if series.kind == "lsm":
        metadata = file.lsm_metadata or {}
        return _both(*(micrometers(metadata.get(f"VoxelSize{axis}"), "m") for axis in "YX"))
    page = series.keyframe
    steps = [_step(page, name) for name in ("YResolution", "XResolution")]
    if series.kind == "imagej":
        metadata = file.imagej_metadata or {}
        unit = _unescaped(metadata.get("unit"))
        units = [_unescaped(metadata.get("yunit")) or unit, unit]
    else:
        tag = page.tags.get("ResolutionUnit")
        unit = RESOLUTION_UNITS.get(int(tag.value)) if tag is not None else None
        units = [unit, unit]
    size = _both(*(micrometers(step, unit) for step, unit in zip(steps, units, strict=True)))
    if (
        size is not None
        and series.kind != "qpi"
        and unit in RESOLUTION_UNITS.values()
        and max(size) > LARGEST_PIXEL
    ):
        return None
    return size


def _both(height: float | None, width: float | None) -> tuple[float, float] | None:
    return None if height is None or width is None else (height, width)


def _step(page: Any, name: str) -> float | None:
    """Return the unit's length of a pixel: one by the pixels in a unit."""
    tag = page.tags.get(name)
    if tag is None:
        return None
    numerator, denominator = tag.value
    return denominator / numerator if numerator else None


def _unescaped(unit: Any) -> str | None:
    r"""Return a unit as ImageJ means it: it writes the micro sign as ``\u00B5``."""
    return None if unit is None else str(unit).replace("\\u00B5", "µ")
