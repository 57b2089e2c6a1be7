"""Which files of a folder are pictures, by their names: the rest lies beside them."""

from __future__ import annotations

from typing import Final

from segment_tiles.pipeline.sources.kinds import SLIDE_SUFFIXES
from segment_tiles.pipeline.sources.volumes.nifti import SUFFIXES as NIFTI_SUFFIXES
from segment_tiles.pipeline.sources.volumes.nrrd import SUFFIXES as NRRD_SUFFIXES

RASTER_SUFFIXES: Final = (
    ".tif", ".tiff", ".jp2", ".j2k", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".vrt", ".img", ".bil", ".bsq",
    ".ntf", ".nitf", ".pix", ".dem", ".hgt", ".asc",
)  # fmt: skip
"""Of files that GDAL reads and that hold a picture; endings that hold anything, such as .xml and .nc, are not here."""
SUFFIXES: Final = (*RASTER_SUFFIXES, *SLIDE_SUFFIXES, *NIFTI_SUFFIXES, *NRRD_SUFFIXES)
SIDECAR_SUFFIXES: Final = (
    ".aux.xml", ".ovr", ".msk", ".tfw", ".tifw", ".tiffw", ".pgw", ".pngw", ".jgw", ".jpgw", ".jpegw", ".wld", ".j2w",
    ".prj", ".hdr", ".qml", ".rpb", ".imd",
)  # fmt: skip
"""Of files that are read with the picture beside them."""


def is_picture(name: str) -> bool:
    """Return whether a file is a picture by its name.

    >>> [is_picture(name) for name in ("a.TIF", "scan.nii.gz", "a.tif.aux.xml", "notes.txt")]
    [True, True, False, False]
    """
    return name.lower().endswith(SUFFIXES)


def is_sidecar(name: str) -> bool:
    """Return whether a file is read with the picture beside it."""
    return name.lower().endswith(SIDECAR_SUFFIXES)
