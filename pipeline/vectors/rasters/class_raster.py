"""Class rasters by window: the class map of a run, or any raster of integer classes that GDAL reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.grid.window import Window

RasterName = Path | str
"""A file or folder; as text a name that only GDAL understands: a URL, a virtual file, a raster in a file of several."""
_OF_GDAL = re.compile(r"/vsi\w+[/?]|[A-Za-z][\w+.-]+:")


@dataclass(frozen=True, slots=True)
class ClassRasterSpec:
    """What is known of a class raster before a pixel is read."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    dtype: str
    """NumPy name of the integer type of the codes that ``read`` returns."""
    nodata: int | None
    """Code of pixels without a class, or None if every pixel has one."""
    georef: GeoRef
    """Pixel to world."""
    classes: tuple[MapClass, ...] = ()
    """Names and colours that the file knows; codes may be any integers, and may be missing here."""
    has_confidence: bool = False
    """True if ``read_confidence`` gives bytes."""
    has_all_classes: bool = False
    """True if no pixel has a code that is not among the classes."""
    masks: tuple[int, ...] = ()
    """Codes of the classes that have a mask each, since they may overlap."""
    objects: tuple[ObjectRule, ...] = ()
    """How classes become objects, as the model of the map says."""
    notes: tuple[str, ...] = ()
    """What the user should know about the georeference of the file."""

    @property
    def window(self) -> Window:
        """The whole raster as a Window."""
        return Window(0, 0, self.height, self.width)


class ClassRaster(Protocol):
    """One open class raster, used by one thread at a time; never pickled."""

    spec: ClassRasterSpec

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window inside the raster, rows x columns."""
        ...

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns: round(255 * probability)."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def raster_name(text: str | Path) -> RasterName:
    """Return a file or folder as a Path; a name that only GDAL understands stays what it is.

    >>> raster_name("a/b.tif")
    PosixPath('a/b.tif')
    >>> raster_name("https://example.com/b.tif"), raster_name("/vsizip/a.zip/b.tif"), raster_name("NETCDF:a.nc:b")
    ('https://example.com/b.tif', '/vsizip/a.zip/b.tif', 'NETCDF:a.nc:b')
    """
    if isinstance(text, str) and _OF_GDAL.match(text) and not Path(text).exists():
        return text
    return Path(text)


def identifying_name(name: RasterName) -> str:
    """Return the name whose version tells whether a class raster is still the same."""
    if isinstance(name, str):
        return name
    if (name / "classes.zarr").is_dir():
        name = name / "classes.zarr"
    # the array alone: the group changes when overviews are added
    return str(name / "classes" if (name / "zarr.json").is_file() else name)
