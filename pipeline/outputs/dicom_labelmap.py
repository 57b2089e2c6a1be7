"""What DICOM Segmentations of series and of slides have in common: a label map of class codes (Supplement 243).

Value 0 is the background of such a map, so class 0 of the model and pixels without a class have no segment of
their own. highdicom needs the whole map in memory, so there is a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, Final

from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, OutputError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable

PIXELS_AT_MOST: Final = 2**30
"""Pixels or voxels of a map that is written as DICOM SEG."""
TAKES: Final = 4
"""Bytes of memory per byte of the map: the map, highdicom's copy of it, and compressed frames twice. Measured
as 2 to 3 of maps with patches of 8 pixels and more."""
GIB: Final = 2**30
MANUFACTURER: Final = "segment-tiles"


def check_size(pixels: int, what: str, instead: str) -> None:
    """Refuse a map that is too large to be made in memory.

    Parameters
    ----------
    pixels
        How many there are.
    what
        Their name in words: pixels, voxels.
    instead
        What to do in place of it.

    Raises
    ------
    OutputError
        Where it is.
    """
    if pixels > PIXELS_AT_MOST:
        msg = (
            f"--format dicom-seg: the mask has {pixels:,} {what}, and DICOM SEG is made in memory, where these "
            f"take about {TAKES * pixels / GIB:.1f} GiB; up to {PIXELS_AT_MOST:,} are accepted: {instead}"
        )
        raise OutputError(msg)


def require_highdicom() -> None:
    """Refuse, before anything is computed, where the library is missing; without loading it.

    Raises
    ------
    MissingExtraError
        Where it is.
    """
    if find_spec("highdicom") is None:
        msg = "DICOM SEG needs the extra dicom: pip install 'segment-tiles[dicom]'"
        raise MissingExtraError(msg)


@contextmanager
def refusing_bad_references(source: str, kind: str, instead: str) -> Iterator[None]:
    """Turn what highdicom raises inside, for images that lack what such an object must say, into words.

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
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        msg = f"{source}: DICOM SEG cannot refer to this {kind} ({one_line(error)}); use --format {instead}"
        raise OutputError(msg) from error


def labelmap(
    headers: Sequence[Any],
    frames: NDArray[Any],
    table: ClassTable,
    *,
    model: str,
    version: str,
    **geometry: Any,
) -> Any:
    """Return a Segmentation of highdicom, to be saved.

    Parameters
    ----------
    headers
        Data sets of the images that it refers to; patient, study and frame of reference are taken over.
    frames
        Class codes, 0 where there is no class: frames x rows x columns, C-contiguous.
    table
        Names of the codes.
    model, version
        Name of the model that made the map, and the version of this program.
    geometry
        Further words of highdicom's constructor: tiling, pixel measures.

    Raises
    ------
    MissingExtraError
        Where highdicom is not installed.
    AttributeError, ValueError, TypeError, KeyError
        Where the images lack what such an object must say.
    """
    require_highdicom()
    import highdicom  # noqa: PLC0415 - an extra
    from pydicom.uid import RLELossless, generate_uid  # noqa: PLC0415 - an extra

    # the same map of the same series gets the same identifiers
    entropy = [str(headers[0].SeriesInstanceUID), model, version, sha256(frames.data).hexdigest()]
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.LABELMAP,
        segment_descriptions=_descriptions(highdicom, table, model, version),
        series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
        series_number=1000 + int(headers[0].get("SeriesNumber") or 0) % 1000,
        sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "instance"]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=version,
        device_serial_number="1",
        series_description=f"{model}: research use, not for diagnosis"[:64],
        transfer_syntax_uid=RLELossless,
        omit_empty_frames=False,
        **geometry,
    )


def _descriptions(highdicom: Any, table: ClassTable, model: str, version: str) -> list[Any]:
    """Return what each code means but the background's."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - an extra

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model, version=version, family=codes.DCM.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=entry.code,
            segment_label=entry.name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for entry in table.classes[1:]
    ]
