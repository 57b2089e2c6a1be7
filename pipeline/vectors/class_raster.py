"""Class rasters by window: the class map of a run, or any raster of integer classes that GDAL reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window


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
    """Code of pixels without a class, or None where every pixel has one."""
    georef: GeoRef
    """Pixel to world."""
    classes: tuple[MapClass, ...] = ()
    """Names and colours that the file knows; codes may be any integers, and may be missing here."""
    has_confidence: bool = False
    """True where ``read_confidence`` gives bytes."""

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


def open_class_raster(path: Path, changed_codes: Path | None = None) -> ClassRaster:
    """Open ``classes.zarr``, a folder of a finished run that holds it, or any GDAL class raster.

    Parameters
    ----------
    path : Path
        The raster.
    changed_codes : Path, optional
        Array of codes that take the place of those of the raster.

    Raises
    ------
    VectorError
        When there is no such raster, or its values are not integers.
    """
    if changed_codes is not None:
        from segment_tiles.pipeline.vectors.changed_class_raster import ChangedClassRaster  # noqa: PLC0415

        return ChangedClassRaster(open_class_raster(path), changed_codes)
    if (path / "classes.zarr").is_dir():
        path = path / "classes.zarr"
    if (path / "zarr.json").is_file():
        from segment_tiles.pipeline.vectors.zarr_class_raster import ZarrClassRaster  # noqa: PLC0415

        return ZarrClassRaster(path)
    from segment_tiles.pipeline.vectors.gdal_class_raster import GdalClassRaster  # noqa: PLC0415

    return GdalClassRaster(path)


def identifying_file(path: Path) -> Path:
    """Return the file whose time and size tell whether a class raster is still the same."""
    if (path / "classes.zarr").is_dir():
        path = path / "classes.zarr"
    # the metadata of the array: that of the group changes when overviews are added
    return path / "classes" / "zarr.json" if (path / "zarr.json").is_file() else path


class ArrayClassRaster:
    """A class raster in memory, for small arrays and for tests of the laws."""

    def __init__(
        self,
        codes: NDArray[np.integer],
        *,
        nodata: int | None = None,
        georef: GeoRef | None = None,
        classes: tuple[MapClass, ...] = (),
        confidence: NDArray[np.uint8] | None = None,
    ) -> None:
        self._codes = codes
        self._confidence = confidence
        height, width = codes.shape
        self.spec = ClassRasterSpec(
            height, width, codes.dtype.name, nodata, georef or GeoRef.of_pixels(), classes,
            confidence is not None,
        )  # fmt: skip

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns."""
        return self._codes[window.slices()]

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns."""
        if self._confidence is None:
            msg = "this class raster has no confidence"
            raise ValueError(msg)
        return self._confidence[window.slices()]

    def close(self) -> None:
        """Nothing to release."""
