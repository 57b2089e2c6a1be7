"""What a DICOM Segmentation takes over from the images that it refers to: completed, or refused before a run.

Anonymised images often lack attributes of type 2, which must be there but may be empty (PS3.5, section 7.4.3):
they are filled with nothing. Attributes of type 1 must have a value, and nobody but the scanner knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.dicom.segmentation import (
    refusing_bad_references,
    require_highdicom,
    segmentation,
)

TYPE_2: Final = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Of the patient and the study: may be empty, must be there."""
TYPE_1: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID",
    "Rows", "Columns",
)  # fmt: skip
OF_SLICES: Final = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
OF_SLIDES: Final = (
    "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide",
    "SharedFunctionalGroupsSequence", "NumberOfFrames",
)  # fmt: skip
_SEXES: Final = ("", "M", "F", "O")
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
"""HHMMSS.FFFFFF, from the right as short as it likes (PS3.5, section 6.2, TM)."""
_CHARACTER_SET: Final = "SpecificCharacterSet"


def completed(header: Any) -> Any:
    """Return a data set with the attributes of type 2 that it lacks, empty, and with a legal character set."""
    for keyword in TYPE_2:
        if header.get(keyword) is None:
            setattr(header, keyword, "")
    if _CHARACTER_SET in header:
        found = header.SpecificCharacterSet
        names = [found] if isinstance(found, str) or found is None else list(found)
        # an empty first one of several is the default repertoire under its name for code extensions
        names = [name or "ISO 2022 IR 6" for name in names] if len(names) > 1 else [n for n in names if n]
        if names:
            header.SpecificCharacterSet = names
        else:
            del header.SpecificCharacterSet
    return header


def check_references(
    headers: Iterable[Any],
    source: str,
    table: ClassTable,
    *,
    kind: DicomSegKind,
    model: str,
    is_slide: bool,
) -> None:
    """Refuse, before anything is computed, images that a Segmentation cannot refer to.

    Parameters
    ----------
    headers
        Data sets without pixels.
    source
        Their name for the user.
    table
        Classes of the model.
    kind, model
        How the segments are to be stored; name of the model.
    is_slide
        Levels of a slide, not slices of a series.

    Raises
    ------
    MissingExtraError
        If highdicom is not installed.
    OutputError
        Naming everything that is missing or cannot be understood, at once.
    """
    require_highdicom()
    what, instead = ("slide", "ome-tiff") if is_slide else ("series", "nifti")
    if table.count < 2:
        msg = (
            f"--format dicom-seg: the model has one class, {table.names[0]!r}, and the first class is the background; "
            f"use --format {instead}"
        )
        raise OutputError(msg)
    first, problems = _first_and_problems(headers, OF_SLIDES if is_slide else OF_SLICES)
    if first is None:
        raise OutputError(f"{source}: holds no DICOM images; DICOM SEG has nothing to refer to")
    if problems:
        msg = (
            f"{source}: DICOM SEG cannot refer to this {what}, which has {', '.join(problems)}; "
            f"mend the files, or use --format {instead}"
        )
        raise OutputError(msg)
    with refusing_bad_references(source, what, instead):
        _try_one_frame(completed(first), table, kind, model, is_slide=is_slide)


def _first_and_problems(headers: Iterable[Any], needed: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the first header, None if there is none, and what is wrong with any, each thing once.

    What opening the images has checked of all is not read again: identifiers differ from file to file.
    """
    first = None
    problems: dict[str, None] = {}
    for header in headers:
        first = first if first is not None else header
        problems |= dict.fromkeys(_problems(header, needed))
    return first, list(problems)


def _problems(header: Any, needed: Sequence[str]) -> list[str]:
    found = [f"no {keyword}" for keyword in (*TYPE_1, *needed) if _is_empty(header, keyword)]
    found += [
        f"{keyword} {_text(header, keyword)!r}"
        for keyword, is_legal in (
            ("PatientSex", lambda text: text in _SEXES),
            ("PatientBirthDate", _is_date),
            ("StudyDate", _is_date),
            ("StudyTime", lambda text: _TIME.fullmatch(text) is not None),
        )
        if _text(header, keyword) and not is_legal(_text(header, keyword))
    ]
    return found


def _is_empty(header: Any, keyword: str) -> bool:
    value = header.get(keyword)
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _text(header: Any, keyword: str) -> str:
    """Return a value as it stands in the file: pydicom would refuse to give a date that is none."""
    element = header.get_item(keyword)
    value = b"" if element is None or element.value is None else element.value
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip(" \0")


def _is_date(text: str) -> bool:
    digits = text.replace(".", "")
    return (
        len(digits) == 8 and digits.isdigit() and 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:]) <= 31
    )


def _try_one_frame(header: Any, table: ClassTable, kind: DicomSegKind, model: str, *, is_slide: bool) -> None:
    """Make a Segmentation of one slice or tile: highdicom knows best what it needs."""
    geometry: dict[str, Any] = {}
    if is_slide:
        header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = header.Rows, header.Columns
        header.NumberOfFrames = 1
        geometry = {"tile_pixel_array": True, "dimension_organization_type": "TILED_FULL"}
    frame = np.ones((1, int(header.Rows), int(header.Columns)), table.dtype)
    segmentation([header], frame, table, kind=kind, model=model, version="0", **geometry)
