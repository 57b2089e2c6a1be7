"""The one door to class rasters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segment_tiles.pipeline.errors import SegmentTilesError, UsageError
from segment_tiles.pipeline.grid.classes import Target
from segment_tiles.pipeline.vectors.rasters.changed_class_raster import ChangedClassRaster
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster, RasterName
from segment_tiles.pipeline.vectors.rasters.gdal_class_raster import GdalClassRaster
from segment_tiles.pipeline.vectors.rasters.mask_class_raster import MaskClassRaster
from segment_tiles.pipeline.vectors.rasters.reclassed_class_raster import ReclassedClassRaster
from segment_tiles.pipeline.vectors.rasters.zarr_class_raster import ZarrClassRaster


def open_class_raster(
    name: RasterName,
    changed_codes: Path | None = None,
    *,
    band: int | None = None,
    reclass: Sequence[Target] = (),
    mask: int | None = None,
) -> ClassRaster:
    """Open ``classes.zarr``, a folder of a finished run that holds it, or any GDAL class raster.

    Parameters
    ----------
    name : Path or str
        The raster (`raster_name`).
    changed_codes : Path, optional
        Array of codes that replace those of the raster.
    band : int, optional
        Band of classes, from 1; None: the only one.
    reclass : sequence of Target
        Classes as they will be; those that are not named stay.

    mask : int, optional
        Code of one of its classes that may overlap: what has it is read; None: the class map.

    Raises
    ------
    UsageError
        When there is no such band, or no such class.
    VectorError
        When there is no such raster, its values are not integers, or look like none of classes.
    """
    if changed_codes is not None:
        original = open_class_raster(name, band=band, reclass=reclass, mask=mask)
        return ChangedClassRaster(original, changed_codes)
    if isinstance(name, Path) and (name / "classes.zarr").is_dir():
        name = name / "classes.zarr"
    if mask is not None and isinstance(name, Path):
        return MaskClassRaster(name, mask, reclass)
    if reclass:
        return _reclassed(open_class_raster(name, band=band), reclass)
    if isinstance(name, Path) and (name / "zarr.json").is_file():
        if band is not None:
            msg = f"--band is {band}, but {name} is the class map of a run and has no bands; leave --band out"
            raise UsageError(msg)
        return ZarrClassRaster(name)
    return GdalClassRaster(name, band)


def _reclassed(opened: ClassRaster, reclass: Sequence[Target]) -> ClassRaster:
    try:
        return ReclassedClassRaster(opened, reclass)
    except SegmentTilesError:
        opened.close()
        raise
