"""What a source is, told by its contents if they tell, by its name if only that does."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final, Literal

import rasterio

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.names import is_stack, is_url
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.pyramids.slide import vendor_of
from segment_tiles.pipeline.sources.pyramids.tiff_pages import MAGIC as TIFF_MAGIC
from segment_tiles.pipeline.sources.pyramids.tiff_pages import TiffPages, tiff_pages
from segment_tiles.pipeline.sources.pyramids.tiff_series import is_series

Kind = Literal["raster", "stack", "slide", "ome-tiff", "tiff-series", "zarr"]
PYRAMIDS: Final = ("slide", "ome-tiff", "tiff-series", "zarr")
"""Kinds with Levels and planes of their own readers."""

SLIDE_SUFFIXES: Final = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif")
"""Endings that only slides have."""
ZARR_FILES: Final = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""One of these lies in every folder of a Zarr hierarchy."""
GENERIC_VENDORS: Final = (None, "generic-tiff")
"""What OpenSlide says of a TIFF that no scanner wrote: it may be anything."""
LARGEST_SLIDE_PIXEL: Final = 20.0
"""Micrometres; a TIFF without georeference whose tags say larger pixels is a photo or a scan (72 dpi = 353)."""
MICROMETERS_PER_RESOLUTION_UNIT: Final = {"2": 25_400.0, "3": 10_000.0}
"""TIFF's inch and centimetre."""


def kind_of(uri: str) -> Kind:
    """Return what a source is; ``raster`` is whatever GDAL makes of it.

    A tiled TIFF that no scanner wrote counts as a slide if it has no georeference and its resolution
    tags say pixels of 20 micrometres or less; else it stays a raster. One of several full-size pages, and what
    ImageJ or PerkinElmer wrote, is a series of tifffile's.
    """
    if is_stack(uri) or is_url(uri):
        return "stack" if is_stack(uri) else _kind_of_url(uri)
    local = Path(uri)
    if local.is_dir():
        return "zarr" if any((local / name).is_file() for name in ZARR_FILES) else "raster"
    if not local.is_file():
        return "raster"
    if local.suffix.lower() in SLIDE_SUFFIXES:
        return "slide"
    with local.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return "slide" if vendor_of(uri) == "dicom" else "raster"
    return _kind_of_tiff(uri) if start[:4] in TIFF_MAGIC else "raster"


def _kind_of_url(uri: str) -> Kind:
    path = re.split(r"[?#]", uri, maxsplit=1)[0]
    return "zarr" if path.rstrip("/").endswith(".zarr") or ".zarr/" in path else "raster"


def _kind_of_tiff(path: str) -> Kind:
    try:
        pages = tiff_pages(path)
    except SourceError:
        # opening it says what is wrong
        return "raster" if vendor_of(path) in GENERIC_VENDORS else "slide"
    if pages.has_tie_points:
        return "raster"  # no scanner says where on the Earth a slide lies
    vendor = vendor_of(path)
    if vendor not in GENERIC_VENDORS:
        return "slide"
    tags = _tags_if_not_georeferenced(path)
    return "raster" if tags is None else _kind_if_not_georeferenced(pages, tags, vendor)


def _kind_if_not_georeferenced(pages: TiffPages, tags: dict[str, Any], vendor: str | None) -> Kind:
    if "<OME" in pages.description:
        return "ome-tiff"
    if is_series(pages):
        return "tiff-series"
    pixel = _pixel_size(tags)
    is_unread = not tags  # whoever opens it says what is wrong
    return "slide" if vendor and (is_unread or (pixel or math.inf) <= LARGEST_SLIDE_PIXEL) else "raster"


def _tags_if_not_georeferenced(path: str) -> dict[str, Any] | None:
    """Return GDAL's tags of a TIFF, none of one in a compression that it does not know; None: it has a georeference."""
    try:
        with rasterio.open(path) as dataset:
            placed = dataset.crs is not None or not dataset.transform.is_identity or dataset.gcps[0]
            placed = placed or dataset.tags(ns="RPC")
            return None if placed else dict(dataset.tags())
    except GDAL_ERRORS:  # whoever opens it says what is wrong
        return {}


def _pixel_size(tags: dict[str, Any]) -> float | None:
    """Return the width of a pixel in micrometres by the resolution tags."""
    unit = MICROMETERS_PER_RESOLUTION_UNIT.get(tags.get("TIFFTAG_RESOLUTIONUNIT", "")[:1])
    try:
        resolution = float(tags["TIFFTAG_XRESOLUTION"])
    except (KeyError, ValueError):
        return None
    return None if unit is None or resolution <= 0 else unit / resolution
