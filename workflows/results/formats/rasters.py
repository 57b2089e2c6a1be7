"""The class map as rasters that GIS tools open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.workflows.results.formats.format import Format, Work


def _keep(_work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    """Make nothing: the store is there before any format."""
    return ()


def _make_cog(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(COG.file)
    write_cog(work.group, work.folder / COG.file, pixel_counts=work.pixel_counts)
    return ()


ZARR: Final = Format(
    "zarr",
    "classes.zarr",
    ("raster", "slide", "volume"),
    _keep,
    title="Class map and confidence, with overviews",
    media_type="application/vnd.zarr; version=3; profile=multiscales",
    key="classes-zarr",
    is_class_raster=True,
)
COG: Final = Format(
    "cog",
    "classes.tif",
    ("raster", "slide"),
    _make_cog,
    title="Class map",
    media_type="image/tiff; application=geotiff; profile=cloud-optimized",
    key="classes",
    is_class_raster=True,
    driver="COG",
)
