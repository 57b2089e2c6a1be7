"""What lies in a DICOM folder: images, objects beside them that are no images, and other files.

A folder from a viewer or an archive holds more than its series: a DICOMDIR, reports, segmentations, presentation
states, screenshots. They are told by their SOP class and left out, which a note says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.damage import DAMAGE, said
from segment_tiles.pipeline.sources.volumes.dicom_pixels import library_errors

WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of a whole slide, which is not a volume."""
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class of screenshots and scans; several more begin with it and a dot."""
STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
NO_IMAGES: Final = (
    "1.2.840.10008.1.3.10",  # directory of a disc
    *(
        STORAGE + kind
        for kind in (
            "4.2",  # spectra
            "9.",  # waveforms
            "11.",  # presentation states
            "30",  # parametric maps
            "66",  # raw data, registrations, segmentations, surfaces
            "67",  # real world values
            "88.",  # structured reports
            "104.",  # documents
            "481.",  # radiotherapy: doses, structures, plans
        )
    ),
)
"""Beginnings of the SOP classes of objects that are no images of a scanner."""
NAMES_OF_NEW: Final = {STORAGE + "66.7": "Label Map Segmentation Storage"}
"""Names of SOP classes that the library does not know yet."""


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The files of a folder, told apart."""

    images: tuple[Path, ...]
    """Images of a scanner, by name."""
    left_out: tuple[str, ...]
    """Names of the SOP classes of the other DICOM files, one for each."""
    foreign: tuple[str, ...]
    """Names of files that are not DICOM, and of folders."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of what is not read."""
        parts = [f"{count} {name}" for name, count in sorted(Counter(self.left_out).items())]
        if self.foreign:
            more = f" and {len(self.foreign) - 1} more" if len(self.foreign) > 1 else ""
            parts.append(f"what is no DICOM file ({self.foreign[0]}{more})")
        return (f"left out of the series: {', '.join(parts)}",) if parts else ()


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files of a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.is_file() and has_preamble(file))


def has_preamble(file: Path) -> bool:
    """Return whether a file begins as DICOM does, and is no directory of a disc."""
    if file.name == "DICOMDIR":
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def is_slides_only(files: Sequence[Path]) -> bool:
    """Return whether the first image among DICOM files is a whole slide."""
    found = (sop_class(file) for file in files)
    first = next((name for name in found if not name.startswith(NO_IMAGES)), "")
    return first == WHOLE_SLIDE


def sop_class(file: Path) -> str:
    """Return the SOP class of a DICOM file, "" if it has none.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    try:
        dataset: Any = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    except (*DAMAGE, *library_errors()) as error:
        msg = f"{file}: is not a DICOM file that can be read ({said(error)}); copy it again, or take it away"
        raise SourceError(msg) from error


def contents_of(path: Path) -> FolderContents:
    """Return what a folder holds, or what one file is.

    Raises
    ------
    SourceError
        If there is no image.
    """
    files = [path] if path.is_file() else (dicom_files(path) if path.is_dir() else [])
    if not files:
        msg = f"{path}: holds no DICOM file; give a folder with one series"
        raise SourceError(msg)
    classes = {file: sop_class(file) for file in files}
    images = [file for file in files if not classes[file].startswith(NO_IMAGES)]
    scans = [file for file in images if not _is_capture(classes[file])]
    images = scans or images
    left_out = [_name_of(classes[file]) for file in files if file not in images]
    if not images:
        what = ", ".join(f"{count} {name}" for name, count in sorted(Counter(left_out).items()))
        msg = f"{path}: holds {what}, but no image of a scanner; give the series that it belongs to"
        raise SourceError(msg)
    foreign = [] if path.is_file() else [entry.name for entry in path.iterdir() if entry not in classes]
    return FolderContents(tuple(images), tuple(left_out), tuple(sorted(foreign)))


def _is_capture(name: str) -> bool:
    return name == SECONDARY_CAPTURE or name.startswith(SECONDARY_CAPTURE + ".")


def _name_of(name: str) -> str:
    from pydicom.uid import UID  # noqa: PLC0415 - an extra

    if not name:
        return "DICOM file without SOP class"
    return NAMES_OF_NEW.get(name, UID(name).name)
