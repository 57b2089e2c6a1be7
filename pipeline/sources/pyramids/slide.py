"""Whole slides: everything that OpenSlide opens (SVS, NDPI, MRXS, SCN, DICOM, Philips, tiled TIFF).

Coordinates are those of QuPath: where a scanner says which part of its canvas holds tissue (the *bounds* of
MRXS and others), full-resolution pixel (0, 0) is the corner of that part.

OpenSlide places a window by full-resolution pixels. On a Level whose downsample is no whole number the
position is then a fraction of a Level's pixel, and what is read there is interpolated, differently for every
window. Such a Level is read in cells of a fixed grid, from which windows are cut (decision 0040)::

    Level     |cell----|cell----|cell----|      always read whole, at one position each
                   [window---]                  cut from them
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, ReadFailedError, SourceError, one_line
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.pyramids.pyramid import PyramidFacts
from segment_tiles.pipeline.sources.pyramids.tiff_pages import is_tiff, tiff_pages

log = logging.getLogger(__name__)

CELL = 1024
"""Side of a cell of Levels that are read in cells, and the largest window read at once, in pixels."""
CHANNELS = 4
"""OpenSlide decodes to red, green, blue and alpha."""
WHITE = 255.0
COMPRESSIONS: Final = {
    "1.2.840.10008.1.2.4.80": "JPEG-LS", "1.2.840.10008.1.2.4.81": "JPEG-LS", "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.57": "lossless JPEG", "1.2.840.10008.1.2.4.70": "lossless JPEG",
    "1.2.840.10008.1.2.4.201": "HTJ2K", "1.2.840.10008.1.2.4.202": "HTJ2K", "1.2.840.10008.1.2.4.203": "HTJ2K",
}  # fmt: skip
"""Transfer syntaxes of DICOM, for people."""


class Slide:
    """A slide that OpenSlide opens: red, green and blue; transparent pixels hold no data.

    Parameters
    ----------
    path
        The file; of formats of several files the one that OpenSlide names.
    cache_bytes
        Size of the cache of decoded tiles.

    Raises
    ------
    MissingExtraError
        If OpenSlide is not installed.
    SourceError
        If the file is of no vendor that OpenSlide knows, or is damaged.
    """

    def __init__(self, path: str, cache_bytes: int) -> None:
        self._openslide = _openslide(path)
        self._path, self._cache_bytes = path, cache_bytes
        self._slide = self._open()
        try:
            self._left, self._top, width, height = _bounds(self._slide)
            self._steps = tuple(float(step) for step in self._slide.level_downsamples)
            self.facts = _facts(self._slide, width, height)
        except BaseException:
            self._slide.close()
            raise

    def read(
        self, level: int, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a window of a Level: bands x rows x columns, and where it is not transparent."""
        values = np.empty((len(bands), *window.shape), dtype=np.uint8)
        valid = np.ones(window.shape, dtype=bool)
        exact = self._is_exact(level)
        for cell in _cells(window):
            part = cell.intersect(window)
            read = self._region(level, part if exact else cell)
            rgba = read if exact else read[part.relative_to(cell).slices()]
            rows, columns = part.relative_to(window).slices()
            colours, valid[rows, columns] = _opaque(rgba)
            values[:, rows, columns] = colours[list(bands)]
        return values, None if valid.all() else valid

    def close(self) -> None:
        """Release the handle."""
        self._slide.close()

    def _is_exact(self, level: int) -> bool:
        """Whether every pixel of a Level starts at a full-resolution pixel."""
        step = self._steps[level]
        return step.is_integer() and self._left % step == 0 and self._top % step == 0

    def _region(self, level: int, window: Window) -> NDArray[np.uint8]:
        """Return rows x columns x RGBA, not premultiplied."""
        step = self._steps[level]
        corner = self._left + round(window.column * step), self._top + round(window.row * step)
        try:
            picture = self._slide.read_region(corner, level, (window.width, window.height))
        except self._openslide.OpenSlideError as error:
            log.warning("%s is opened again after an error of OpenSlide: %s", self._path, one_line(error))
            self._reopen()
            msg = (
                f"{self._path}: level {level}, rows {window.row} to {window.row_stop} cannot be decoded "
                f"({one_line(error)}); copy the slide again, or choose another --level"
            )
            raise ReadFailedError(msg) from error
        return np.asarray(picture)

    def _open(self) -> Any:
        try:
            slide = self._openslide.OpenSlide(self._path)
        except self._openslide.OpenSlideUnsupportedFormatError as error:
            raise unknown_vendor(self._path) from error
        except (self._openslide.OpenSlideError, OSError) as error:
            if is_tiff(self._path):
                tiff_pages(self._path)  # says so if the end of the file is missing
            raise SourceError(f"{self._path}: {_cause(one_line(error))}") from error
        slide.set_cache(self._openslide.OpenSlideCache(self._cache_bytes))
        return slide

    def _reopen(self) -> None:
        """Open again: after an error OpenSlide answers every question with that error."""
        self._slide.close()
        self._slide = self._open()


def vendor_of(path: str) -> str | None:
    """Return what OpenSlide takes a file for, or None; None as well if it is not installed."""
    try:
        vendor: str | None = _openslide(path).OpenSlide.detect_format(path)
    except MissingExtraError:
        return None
    return vendor


def unknown_vendor(path: str) -> SourceError:
    """Return the error for a file with a slide's name that OpenSlide does not know."""
    if is_tiff(path):
        tiff_pages(path)  # says so if the end of the file is missing
    return SourceError(
        f"{path}: is no slide of a vendor that OpenSlide knows (Aperio, Hamamatsu, Leica, MIRAX, Philips, "
        "Sakura, Trestle, Ventana, Zeiss, DICOM, tiled TIFF); convert it to OME-TIFF or OME-Zarr, "
        "for example with bioformats2raw"
    )


def _cause(text: str) -> str:
    """Return what is wrong with a slide that OpenSlide knows and cannot open, and what to do."""
    syntax = re.search(r"Unsupported transfer syntax ([\d.]+)", text)
    if syntax:
        name = COMPRESSIONS.get(syntax[1], syntax[1])
        return f"is compressed as {name}, which OpenSlide does not decode; transcode it to JPEG or JPEG 2000"
    if re.search(r"Attribute (BitsAllocated|BitsStored|SamplesPerPixel|PhotometricInterpretation) ", text):
        return (
            f"holds pixels of a kind that OpenSlide does not read ({text}); it reads colours of 8 bits: convert the "
            "slide to OME-TIFF"
        )
    return f"OpenSlide cannot open it ({text}); copy it again, with all its files"


def _openslide(path: str) -> Any:
    """Return the library; it is an extra."""
    try:
        import openslide  # noqa: PLC0415
    except ImportError as error:
        msg = f"{path}: slides need OpenSlide; pip install 'segment-tiles[slides]'"
        raise MissingExtraError(msg) from error
    return openslide


def _cells(window: Window) -> list[Window]:
    """Return the cells of the fixed grid that a window touches."""
    return [
        Window(row * CELL, column * CELL, CELL, CELL)
        for row in range(window.row // CELL, -(-window.row_stop // CELL))
        for column in range(window.column // CELL, -(-window.column_stop // CELL))
    ]


def _opaque(rgba: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return colours over white, bands first, and which pixels are not wholly transparent."""
    alpha = rgba[..., 3]
    colours = rgba[..., :3]
    if alpha.min() < WHITE:
        share = alpha[..., np.newaxis] / WHITE
        colours = np.rint(colours * share + WHITE * (1 - share)).astype(np.uint8)
    return colours.transpose(2, 0, 1), alpha > 0


def _bounds(slide: Any) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the part with tissue, in full-resolution pixels."""
    width, height = slide.dimensions
    names = ("bounds-x", "bounds-y", "bounds-width", "bounds-height")
    said = [slide.properties.get(f"openslide.{name}") for name in names]
    if any(value is None for value in said):
        return 0, 0, width, height
    left, top, across, down = (int(value) for value in said)
    return left, top, min(across, width - left), min(down, height - top)


def _facts(slide: Any, width: int, height: int) -> PyramidFacts:
    properties: Mapping[str, str] = slide.properties
    count = slide.level_count
    whole = (width, height) == slide.dimensions
    sizes = slide.level_dimensions if whole else [
        (math.ceil(width / step), math.ceil(height / step)) for step in slide.level_downsamples
    ]  # fmt: skip
    vendor = properties.get("openslide.vendor", "unknown")
    return PyramidFacts(
        kind=f"slide, {vendor}",
        bands=3,
        dtype="uint8",
        levels=tuple((rows, columns) for columns, rows in sizes),
        chunks=tuple((_tile(properties, i, "height"), _tile(properties, i, "width")) for i in range(count)),
        mpp=_mpp(properties),
        band_names=("red", "green", "blue"),
        decoded_bytes=CHANNELS,
        is_slide=True,
        details={
            "vendor": vendor,
            "objective_power": properties.get("openslide.objective-power"),
            "associated_images": sorted(slide.associated_images),
        },
    )


def _tile(properties: Mapping[str, str], level: int, side: str) -> int:
    return int(properties.get(f"openslide.level[{level}].tile-{side}", 256))


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Return height and width of a pixel in micrometres, if the slide says something possible."""
    said = [float(properties.get(f"openslide.mpp-{axis}", "nan")) for axis in ("y", "x")]
    return (said[0], said[1]) if all(math.isfinite(m) and m > 0 for m in said) else None
