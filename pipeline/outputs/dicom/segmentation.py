"""What DICOM Segmentations of series and of slides have in common.

BINARY, which every reader knows: one frame of bits for each segment and slice or tile. LABELMAP (Supplement 243,
2024): one frame of class codes for each slice or tile; smaller, but SimpleITK, pydicom-seg, OHIF and Slicer do not
read it yet. In both the background has no segment: it is class 0 of the model, and pixels without a class.

highdicom needs the whole map in memory, so there is a limit. It packs the bits frame by frame.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, Final

from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import MissingExtraError, OutputError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable

PIXELS_AT_MOST: Final = 2**30
"""Pixels or voxels of a map that is written as DICOM SEG."""
BYTES_AT_MOST: Final = 2**32 - 2
"""Of native pixel data: their length has 32 bits (PS3.5, section 7.1)."""
TAKES: Final = 4
"""Bytes of memory per byte of the map: the map, highdicom's copy of it, and compressed frames twice. Measured
as 2 to 3 for maps with areas of 8 pixels and more."""
GIB: Final = 2**30
MANUFACTURER: Final = "segment-tiles"
_REFUSALS: Final = (AttributeError, ValueError, TypeError, KeyError, IndexError, sqlite3.Error)
"""What highdicom raises for images that lack something; it keeps their identifiers in a table of SQLite."""


def takes(segments: int, kind: DicomSegKind) -> int:
    """Return the bytes of memory per byte of the map: bits of each segment are held twice at the end."""
    return TAKES if kind == "labelmap" else max(TAKES, 2 + -(-segments // 4))


def check_size(
    pixels: int, what: str, instead: str, *, segments: int = 1, kind: DicomSegKind = "binary"
) -> None:
    """Refuse a map that is too large to be made in memory, or for the format.

    Parameters
    ----------
    pixels
        How many there are.
    what
        What they are called: pixels, voxels.
    instead
        What to do in place of it.
    segments, kind
        Number of segments, and how they are stored.

    Raises
    ------
    OutputError
        If it is.
    """
    if pixels > PIXELS_AT_MOST:
        msg = (
            f"--format dicom-seg: the mask has {pixels:,} {what}, and DICOM SEG is made in memory, where these "
            f"take about {takes(segments, kind) * pixels / GIB:.1f} GiB; up to {PIXELS_AT_MOST:,} are accepted: "
            f"{instead}"
        )
        raise OutputError(msg)
    if kind == "binary" and segments * pixels // 8 > BYTES_AT_MOST:
        msg = (
            f"--format dicom-seg: {segments} segments of {pixels:,} {what} are {segments * pixels / 8 / GIB:.1f} GiB "
            f"of bits, and DICOM holds up to 4 GiB: use --dicom-seg labelmap, or {instead}"
        )
        raise OutputError(msg)


def require_highdicom() -> None:
    """Refuse, before anything is computed, if the library is missing; without loading it.

    Raises
    ------
    MissingExtraError
        If it is.
    """
    if find_spec("highdicom") is None:
        msg = "DICOM SEG needs the extra dicom: pip install 'segment-tiles[dicom]'"
        raise MissingExtraError(msg)


@contextmanager
def refusing_bad_references(source: str, kind: str, instead: str) -> Iterator[None]:
    """Turn what highdicom raises inside, for images that lack what such an object must say, into one line.

    Parameters
    ----------
    source, kind
        Name of the images, and what they are: series, slide.
    instead
        Format to use in place of it.

    Raises
    ------
    OutputError
        Naming the source and what it lacks.
    """
    try:
        yield
    except _REFUSALS as error:
        msg = f"{source}: DICOM SEG cannot refer to this {kind} ({one_line(error)}); use --format {instead}"
        raise OutputError(msg) from error


def segmentation(
    headers: Sequence[Any],
    frames: NDArray[Any],
    table: ClassTable,
    *,
    kind: DicomSegKind,
    model: str,
    version: str,
    **geometry: Any,
) -> Any:
    """Return a Segmentation of highdicom, to be saved.

    Parameters
    ----------
    headers
        Data sets of the images that it refers to, completed (`dicom_references`); patient, study and frame of
        reference are taken over.
    frames
        Class codes, 0 for no class: frames x rows x columns, C-contiguous.
    table
        Names of the codes.
    kind
        How the segments are stored.
    model, version
        Name of the model that made the map, and the version of this program.
    geometry
        Further options of highdicom's constructor: tiling, pixel measures.

    Raises
    ------
    MissingExtraError
        If highdicom is not installed.
    AttributeError, ValueError, TypeError, KeyError, IndexError, sqlite3.Error
        If the images lack what such an object must say.
    """
    require_highdicom()
    import highdicom  # noqa: PLC0415 - an extra
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid  # noqa: PLC0415 - an extra

    # names of patients that it finds odd are those of the images, and stay
    warnings.filterwarnings("ignore", category=UserWarning, module=r"highdicom\.")
    # the same map of the same series gets the same identifiers
    entropy = [str(headers[0].SeriesInstanceUID), model, version, kind, sha256(frames.data).hexdigest()]
    descriptions = _descriptions(highdicom, table, model, version)
    if not all(text.isascii() for text in (model, *table.names)):
        geometry["specific_character_set"] = "ISO_IR 192"  # UTF-8: that of the images may lack some letters
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues[kind.upper()],
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
        series_number=1000 + int(headers[0].get("SeriesNumber") or 0) % 1000,
        sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "instance"]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=version,
        device_serial_number="1",
        series_description=long_string(f"{model}: research use, not for diagnosis"),
        # bits cannot be compressed by what every reader knows
        transfer_syntax_uid=RLELossless if kind == "labelmap" else ExplicitVRLittleEndian,
        # tiles without positions of their own (TILED_FULL) must all be there
        omit_empty_frames=kind == "binary" and "tile_pixel_array" not in geometry,
        **geometry,
    )


def long_string(text: str) -> str:
    r"""Return text as DICOM's value representation LO takes it: one value of at most 64 characters.

    A backslash separates values there, and control characters are not allowed.

    >>> long_string("a\\b\n" + 70 * "c")[:6]
    'a/b cc'
    """
    plain = "".join(character if character.isprintable() else " " for character in text.replace("\\", "/"))
    return plain[:64].strip() or "unnamed"


def _descriptions(highdicom: Any, table: ClassTable, model: str, version: str) -> list[Any]:
    """Return what each code means but the background's."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - an extra

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=long_string(model), version=version, family=codes.DCM.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=entry.code,
            segment_label=long_string(entry.name),
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for entry in table.classes[1:]
    ]
