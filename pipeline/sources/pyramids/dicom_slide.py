"""The files of a DICOM whole slide: one instance per Level, told apart by the size of their pixel matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import MissingExtraError, SourceError, one_line
from segment_tiles.pipeline.sources.pyramids.slide import vendor_of

WHOLE_SLIDE_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of VL Whole Slide Microscopy Image Storage."""
TAGS: Final = (
    "SOPClassUID", "SeriesInstanceUID", "ImageType", "TotalPixelMatrixRows", "TotalPixelMatrixColumns",
)  # fmt: skip
"""What tells the Levels of a slide from labels, overviews and other slides in the same folder."""


@dataclass(frozen=True, slots=True)
class DicomLevel:
    """One Level of a DICOM slide."""

    file: Path
    """Its instance."""
    shape: tuple[int, int]
    """Rows and columns of its total pixel matrix."""

    def header(self) -> Any:
        """Return its data set without pixels."""
        from pydicom import dcmread  # noqa: PLC0415 - an extra

        return dcmread(self.file, stop_before_pixels=True)


def is_dicom_slide(uri: str) -> bool:
    """Return whether a source is a file that OpenSlide reads as a DICOM slide."""
    return Path(uri).is_file() and vendor_of(uri) == "dicom"


def dicom_levels(path: Path) -> list[DicomLevel]:
    """Return the Levels of a slide, the largest first, from any one of its files; all lie in one folder.

    Raises
    ------
    MissingExtraError
        If pydicom is not installed.
    SourceError
        If the file is none of a DICOM slide.
    """
    try:
        from pydicom import dcmread  # noqa: PLC0415 - an extra
        from pydicom.errors import InvalidDicomError  # noqa: PLC0415
    except ImportError as error:
        msg = f"{path}: the files of a DICOM slide are read by pydicom; pip install 'segment-tiles[dicom]'"
        raise MissingExtraError(msg) from error
    levels: dict[str, list[DicomLevel]] = {}
    own = None
    try:
        for file in sorted(path.parent.iterdir()):
            if not file.is_file():
                continue
            try:
                found = dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            except InvalidDicomError:
                continue  # another file beside the slide
            if found.get("SOPClassUID") != WHOLE_SLIDE_IMAGE or "VOLUME" not in found.get("ImageType", ()):
                continue
            shape = int(found.TotalPixelMatrixRows), int(found.TotalPixelMatrixColumns)
            levels.setdefault(found.SeriesInstanceUID, []).append(DicomLevel(file, shape))
            if file.samefile(path):
                own = found.SeriesInstanceUID
    except (OSError, AttributeError) as error:
        msg = f"{path.parent}: its DICOM files cannot be read ({one_line(error)}); copy the slide again"
        raise SourceError(msg) from error
    if own is None:
        msg = f"{path}: is no whole-slide image in DICOM; give one file of the pyramid of the slide"
        raise SourceError(msg)
    return sorted(levels[own], key=lambda level: -level.shape[1])
