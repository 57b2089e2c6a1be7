"""A class raster whose codes were changed before tracing; everything else stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster, ClassRasterSpec


class ChangedClassRaster:
    """New codes from a Zarr array, the rest from the raster that they were made from."""

    def __init__(self, original: ClassRaster, codes: Path) -> None:
        self._original = original
        self._codes: zarr.Array[Any] = zarr.open_array(codes, mode="r")
        self.spec: ClassRasterSpec = original.spec

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns."""
        return np.asarray(self._codes[window.slices()])

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns."""
        return self._original.read_confidence(window)

    def close(self) -> None:
        """Close the original."""
        self._original.close()


def create_codes(path: Path, spec: ClassRasterSpec, side: int, dtype: str | None = None) -> None:
    """Create the array for changed codes; its chunks are vector tiles, so that tiles share nothing.

    Another type than that of the raster is for numbers of 64 bits, whose high bytes are mostly equal.
    """
    zarr.create_array(
        path,
        shape=(spec.height, spec.width),
        chunks=(min(side, spec.height), min(side, spec.width)),
        dtype=dtype or spec.dtype,
        compressors=(
            BloscCodec(cname="zstd", clevel=1, shuffle="shuffle" if dtype else "noshuffle"),
            Crc32cCodec(),
        ),
        overwrite=True,
    )


def write_codes(path: Path, window: Window, codes: NDArray[np.integer]) -> None:
    """Write the changed codes of one vector tile.

    Raises
    ------
    WriteFailedError
        When the disk is full or read-only.
    """
    try:
        array: zarr.Array[Any] = zarr.open_array(path, mode="r+")
        array[window.slices()] = codes
    except OSError as error:
        raise write_failed(path, error) from error
