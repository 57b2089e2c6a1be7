"""The rasters that an index names: members of a VRT, scenes of a mosaic."""

from __future__ import annotations

from pathlib import Path

import rasterio

from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.patience import http_settings
from segment_tiles.pipeline.sources.rasters.sidecars import listing_setting


def is_index(path: Path) -> bool:
    """Return whether a file names the rasters that its pixels come from."""
    return path.suffix.lower() == ".vrt" or ".gti." in path.name.lower()


def local_members(path: Path) -> list[Path]:
    """Return the local files that an index names, and those that lie beside them."""
    scenes = scenes_of(path) if ".gti." in path.name.lower() else []
    try:
        with rasterio.Env(**http_settings(), **listing_setting(str(path))), rasterio.open(path) as dataset:
            scenes += dataset.files
    except GDAL_ERRORS:
        pass  # whoever opens it says what is wrong, if no member does
    # a nodata value of its own is put over a scene: vrt://NAME?a_nodata=0
    names = [
        name.removeprefix("vrt://").partition("?")[0] if name.startswith("vrt://") else name
        for name in scenes
    ]
    return [file for name in dict.fromkeys(names) if (file := Path(name)) != path and file.is_file()]


def scenes_of(index: Path) -> list[str]:
    """Return the names of the scenes of a mosaic as GDAL opens them."""
    import pyogrio  # noqa: PLC0415 - brings pandas, and only mosaics have an index

    try:
        frame = pyogrio.read_dataframe(index, columns=["location"], read_geometry=False)
    except pyogrio.errors.DataSourceError:
        return []
    return [str(name) for name in frame.get("location", ())]
