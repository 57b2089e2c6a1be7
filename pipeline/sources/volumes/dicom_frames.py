"""What a DICOM file says of its slices: one in a classic file, one per frame in an enhanced one.

In an enhanced (multi-frame) file position, orientation, spacing and rescale stand in functional groups: those of a
frame, and for what all frames share, those of the file (DICOM part 3, C.7.6.16).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.damage import DAMAGE
from segment_tiles.pipeline.sources.damage import said as said_by
from segment_tiles.pipeline.sources.volumes.dicom_pixels import check_pixels, library_errors
from segment_tiles.pipeline.sources.volumes.series_checks import SliceHeader
from segment_tiles.pipeline.wording import counted

TAGS: Final = (
    "SOPClassUID", "SeriesInstanceUID", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
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
SKEW_AT_MOST: Final = 0.02
"""By how much directions may miss length 1 and a right angle: they are written with few digits."""


def slice_headers(file: Path) -> list[SliceHeader]:
    """Return what a file says of each of its slices, in the order of its frames.

    Raises
    ------
    SourceError
        Where it cannot be read or decoded, is in colour, or does not say where a slice lies.
    """
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    try:
        with file.open("rb") as stream:
            dataset: Any = dcmread(stream, stop_before_pixels=True, specific_tags=list(TAGS))
            check_pixels(file, dataset, stream)
        frames = int(dataset.get("NumberOfFrames") or 1)
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if groups is None:
            if frames > 1:
                msg = f"{file}: holds {frames} frames and does not say where each lies; convert it to NIfTI first"
                raise SourceError(msg)
            return [_header(_Slice(file, dataset, None, None, {}))]
        if len(groups) != frames:
            msg = f"{file}: holds {frames} frames, but functional groups of {len(groups)}; copy it again"
            raise SourceError(msg)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
        return [_header(_Slice(file, dataset, number, group, shared)) for number, group in enumerate(groups)]
    except (*DAMAGE, *library_errors()) as error:
        msg = f"{file}: is not a DICOM image that can be read ({said_by(error)}); copy it again"
        raise SourceError(msg) from error


@dataclass(frozen=True, slots=True)
class _Slice:
    """What a file says of one slice: in its own functional groups, in those of all frames, or at the top level."""

    file: Path
    dataset: Any
    number: int | None
    """Of the frame, from 0; None in a classic file."""
    own: Any
    shared: Any

    def said(self, name: str) -> Any:
        for holder in (self.own, self.shared):
            group = None if holder is None else holder.get(GROUP_OF[name])
            if group and group[0].get(name) is not None:
                return group[0].get(name)
        return self.dataset.get(name)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return the numbers of an element that a slice of a volume must have."""
        value = self.said(name)
        frame = "" if self.number is None else f"frame {self.number + 1} "
        if value is None:
            msg = (
                f"{self.file}: {frame}has no {name}, so it is no slice of a volume; convert it to NIfTI first"
            )
            raise SourceError(msg)
        found = _numbers(value)
        if len(found) != count or not all(map(math.isfinite, found)):
            shown = "/".join(f"{one:g}" for one in found)
            msg = (
                f"{self.file}: {frame}has the {name} {shown}; {counted(count, 'finite number')} are needed: "
                "copy it again"
            )
            raise SourceError(msg)
        return found

    def rescale(self) -> tuple[float, float]:
        """Return slope and intercept, from stored values to those that are meant."""
        slope, intercept = (
            float(default if value is None else value)
            for value, default in ((self.said("RescaleSlope"), 1), (self.said("RescaleIntercept"), 0))
        )
        if not math.isfinite(slope) or not math.isfinite(intercept):
            msg = (
                f"{self.file}: scales its values by {slope:g} and {intercept:g}; finite numbers are needed: "
                "copy it again"
            )
            raise SourceError(msg)
        return slope, intercept


def _header(one: _Slice) -> SliceHeader:
    file, dataset = one.file, one.dataset
    position, orientation = one.numbers("ImagePositionPatient", 3), one.numbers("ImageOrientationPatient", 6)
    spacing = one.numbers("PixelSpacing", 2)
    _check_grid(file, spacing, orientation)
    rescale = one.rescale()
    thickness = float(one.said("SliceThickness") or 0)
    return SliceHeader(
        file,
        str(dataset.get("SeriesInstanceUID", "none")),
        int(dataset.Rows),
        int(dataset.Columns),
        _stored_type(dataset) if rescale == (1.0, 0.0) else "float32",
        spacing,
        position,
        orientation,
        thickness if thickness > 0 and math.isfinite(thickness) else None,
        rescale,
        one.number,
        _indices(one.own),
        str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1",
    )


def _stored_type(dataset: Any) -> str:
    bits, signed = int(dataset.get("BitsAllocated", 16)), int(dataset.get("PixelRepresentation", 0)) == 1
    if bits not in {8, 16} and not (bits == 32 and signed):
        return "float32"
    return f"{'int' if signed else 'uint'}{bits}"


def _indices(own: Any) -> tuple[int, ...]:
    """Return what tells frames of one position apart: their position along every dimension, or their time."""
    content = None if own is None else own.get("FrameContentSequence")
    if not content:
        return ()
    values = content[0].get("DimensionIndexValues")
    if values is not None:
        return tuple(int(value) for value in ([values] if isinstance(values, int) else values))
    time = content[0].get("TemporalPositionIndex")
    return () if time is None else (int(time),)


def _numbers(value: Any) -> tuple[float, ...]:
    """Return the numbers of an element, which pydicom gives bare if there is one."""
    return tuple(float(one) for one in ([value] if isinstance(value, int | float | str) else value))


def _check_grid(file: Path, spacing: Sequence[float], orientation: Sequence[float]) -> None:
    """Refuse pixels without a size, and directions that are not two unit vectors at a right angle."""
    if min(spacing) <= 0:
        msg = f"{file}: has the PixelSpacing {spacing[0]:g}/{spacing[1]:g}; sizes above 0 are needed: copy it again"
        raise SourceError(msg)
    across, down = np.reshape(orientation, (2, 3))
    lengths = np.linalg.norm((across, down), axis=1)
    if np.abs(lengths - 1).max() > SKEW_AT_MOST or abs(float(across @ down)) > SKEW_AT_MOST:
        shown = "/".join(f"{one:g}" for one in orientation)
        msg = (
            f"{file}: has the ImageOrientationPatient {shown}; two directions of length 1 at a right angle are "
            "needed: copy it again"
        )
        raise SourceError(msg)
