"""What a source is, told by its contents where they tell, by its name where only that does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal

import rasterio
from rasterio.errors import RasterioError

from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.slide import vendor_of

Kind = Literal["raster", "slide", "ome-tiff", "zarr"]

SLIDE_SUFFIXES: Final = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif")
"""Endings that only slides have."""
ZARR_FILES: Final = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""One of these lies in every folder of a Zarr hierarchy."""
TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GENERIC_VENDORS: Final = (None, "generic-tiff")
"""What OpenSlide says of a TIFF that no scanner wrote: it may be anything."""
LARGEST_SLIDE_PIXEL: Final = 20.0
"""Micrometres; a TIFF without place whose resolution tags say larger pixels is a photo or a scan (72 dpi = 353)."""
MICROMETERS_PER_RESOLUTION_UNIT: Final = {"2": 25_400.0, "3": 10_000.0}
"""TIFF's inch and centimetre."""


def kind_of(uri: str) -> Kind:
    """Return what a source is; ``raster`` is whatever GDAL makes of it.

    A tiled TIFF that no scanner wrote counts as a slide where it has no georeference and its resolution
    tags say pixels of 20 micrometres or less; else it stays a raster.
    """
    if is_url(uri):
        path = re.split(r"[?#]", uri, maxsplit=1)[0]
        return "zarr" if path.rstrip("/").endswith(".zarr") or ".zarr/" in path else "raster"
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


def _kind_of_tiff(path: str) -> Kind:
    vendor = vendor_of(path)
    if vendor not in GENERIC_VENDORS:
        return "slide"
    try:
        with rasterio.open(path) as dataset:
            placed = dataset.crs is not None or not dataset.transform.is_identity or dataset.gcps[0]
            tags = dataset.tags()
    except RasterioError:
        return "raster" if vendor is None else "slide"  # whoever opens it says what is wrong
    if placed:
        return "raster"
    if "<OME" in tags.get("TIFFTAG_IMAGEDESCRIPTION", ""):
        return "ome-tiff"
    pixel = _pixel_size(tags)
    return "slide" if vendor is not None and pixel is not None and pixel <= LARGEST_SLIDE_PIXEL else "raster"


def _pixel_size(tags: dict[str, Any]) -> float | None:
    """Return the width of a pixel in micrometres by the resolution tags."""
    unit = MICROMETERS_PER_RESOLUTION_UNIT.get(tags.get("TIFFTAG_RESOLUTIONUNIT", "")[:1])
    try:
        resolution = float(tags["TIFFTAG_XRESOLUTION"])
    except (KeyError, ValueError):
        return None
    return None if unit is None or resolution <= 0 else unit / resolution
