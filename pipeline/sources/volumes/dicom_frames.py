"""What a DICOM file says of its slices: one in a classic file, one per frame in an enhanced one.

In an enhanced (multi-frame) file position, orientation, spacing and rescale stand in functional groups: those of a
frame, and for what all frames share, those of the file (DICOM part 3, C.7.6.16).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.sources.volumes.series_checks import SliceHeader

TAGS: Final = (
    "SOPClassUID", "SeriesInstanceUID", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "BitsAllocated", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
GROUP_OF: Final = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""Functional group in which an enhanced file says what a classic one says at its top level."""
NEEDED: Final = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def slice_headers(file: Path) -> list[SliceHeader]:
    """Return what a file says of each of its slices, in the order of its frames.

    Raises
    ------
    SourceError
        Where it cannot be read or decoded, is in colour, or does not say where a slice lies.
    """
    from pydicom import dcmread  # noqa: PLC0415 - an extra
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415 - an extra

    try:
        dataset: Any = dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        _check_pixels(file, dataset)
        frames = int(dataset.get("NumberOfFrames") or 1)
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups is None:
            if frames > 1:
                msg = f"{file}: holds {frames} frames and does not say where each lies; convert it to NIfTI first"
                raise SourceError(msg)
            return [_header(file, dataset, None, None, {})]
        if len(groups) != frames:
            msg = f"{file}: holds {frames} frames, but functional groups of {len(groups)}; copy it again"
            raise SourceError(msg)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        return [_header(file, dataset, number, group, shared) for number, group in enumerate(groups)]
    except (OSError, EOFError, InvalidDicomError, ValueError, TypeError) as error:
        msg = f"{file}: is not a DICOM image that can be read ({one_line(error)}); copy it again"
        raise SourceError(msg) from error


def _header(file: Path, dataset: Any, number: int | None, own: Any, shared: Any) -> SliceHeader:
    def said(name: str) -> Any:
        for holder in (own, shared):
            group = None if holder is None else holder.get(GROUP_OF[name])
            if group and group[0].get(name) is not None:
                return group[0].get(name)
        return dataset.get(name)

    for name in NEEDED:
        if said(name) is None:
            frame = "" if number is None else f"frame {number + 1} "
            msg = f"{file}: {frame}has no {name}, so it is no slice of a volume; convert it to NIfTI first"
            raise SourceError(msg)
    slope, intercept = (
        float(default if value is None else value)
        for value, default in ((said("RescaleSlope"), 1), (said("RescaleIntercept"), 0))
    )
    thickness = said("SliceThickness")
    return SliceHeader(
        file,
        str(dataset.get("SeriesInstanceUID", "none")),
        int(dataset.Rows),
        int(dataset.Columns),
        _stored_type(dataset) if (slope, intercept) == (1.0, 0.0) else "float32",
        _numbers(said("PixelSpacing")),
        _numbers(said("ImagePositionPatient")),
        _numbers(said("ImageOrientationPatient")),
        float(thickness) if thickness else None,
        (slope, intercept),
        number,
        _indices(own),
        str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1",
    )


def _check_pixels(file: Path, dataset: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - an extra

    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        msg = f"{file}: has no rows and columns of pixels, so it is no slice of a volume"
        raise SourceError(msg)
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        msg = f"{file}: holds colours ({dataset.SamplesPerPixel} values per pixel); one number per voxel is needed"
        raise SourceError(msg)
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        msg = f"{file}: holds indices into a palette of colours; one number per voxel is needed"
        raise SourceError(msg)
    if dataset.get("ModalityLUTSequence"):
        msg = f"{file}: scales its values by a table (Modality LUT), which is not applied; convert it to NIfTI first"
        raise SourceError(msg)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        msg = f"{file}: is compressed as {syntax.name}, for which there is no decoder; decompress it first"
        raise SourceError(msg) from None
    if not decoder.is_available:
        needs = "; or ".join(decoder.missing_dependencies)
        msg = f"{file}: is compressed as {syntax.name}, and no decoder is installed ({needs}); install one with pip"
        raise SourceError(msg)


def _stored_type(dataset: Any) -> str:
    bits, signed = int(dataset.get("BitsAllocated", 16)), int(dataset.get("PixelRepresentation", 0)) == 1
    if bits not in {8, 16} and not (bits == 32 and signed):
        return "float32"
    return f"{'int' if signed else 'uint'}{bits}"


def _indices(own: Any) -> tuple[int, ...]:
    """Return what tells frames of one position apart: their place along every dimension, or their time."""
    content = None if own is None else own.get("FrameContentSequence")
    if not content:
        return ()
    values = content[0].get("DimensionIndexValues")
    if values is not None:
        return tuple(int(value) for value in ([values] if isinstance(values, int) else values))
    time = content[0].get("TemporalPositionIndex")
    return () if time is None else (int(time),)


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
