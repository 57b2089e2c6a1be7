"""DICOM series: slices put in order by their position, values through MONAI's PydicomReader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.grid.volume import VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.volumes.selection import Blocks
from segment_tiles.pipeline.sources.volumes.series_checks import SliceHeader, in_order

WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of a whole slide, which is not a volume."""
HEADER_TAGS: Final = (
    "SOPClassUID", "SeriesInstanceUID", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "BitsAllocated", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """A series whose slices were checked and sorted along their normal."""

    files: tuple[Path, ...]
    """In the order of the slices."""
    spec: VolumeSpec
    """Stored axes: column, row, slice."""


def is_dicom_series(path: Path) -> bool:
    """Return whether a file, or a folder's first DICOM file, is DICOM and not a whole slide."""
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    candidates = [path] if path.is_file() else dicom_files(path)[:1]
    if not candidates or not _is_dicom(candidates[0]):
        return False
    return str(dcmread(candidates[0], specific_tags=["SOPClassUID"]).get("SOPClassUID", "")) != WHOLE_SLIDE


def open_series(path: Path) -> DicomSeries:
    """Read the headers of a series and put its slices in order.

    Raises
    ------
    SourceError
        Where slices are missing, double, of different orientation, shape or spacing, in colour, or of
        several series.
    """
    files = [path] if path.is_file() else (dicom_files(path) if path.is_dir() else [])
    if not files:
        msg = f"{path}: holds no DICOM file; give a folder with one series"
        raise SourceError(msg)
    return _open_series(path, tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=2)
def _open_series(path: Path, files: tuple[tuple[Path, int], ...]) -> DicomSeries:
    headers = [_header(file) for file, _ in files]
    series = sorted({header.series for header in headers})
    if len(series) > 1:
        msg = f"{path}: holds {len(series)} series ({', '.join(series[:3])}); give a folder with one of them"
        raise SourceError(msg)
    ordered = in_order(path, headers)
    first = ordered[0]
    dtypes = {header.dtype for header in ordered}
    spec = VolumeSpec(
        (first.columns, first.rows, len(ordered)),
        1,
        dtypes.pop() if len(dtypes) == 1 else "float32",
        as_matrix(_affine(ordered)),
    )
    return DicomSeries(tuple(header.file for header in ordered), spec)


def read_series_blocks(path: Path, dtype: str, blocks: Blocks) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield channel 0, the first slice, and columns x rows x slices of each block, rescaled as the files say.

    Raises
    ------
    SourceError
        Where the pixels of a slice cannot be decoded.
    """
    series = open_series(path)
    columns, rows, _ = series.spec.shape
    for first, stop in blocks:
        values = _read_slices(path, series.files[first:stop])
        yield 0, first, values.reshape(columns, rows, stop - first).astype(dtype, copy=False)


def _read_slices(path: Path, files: Sequence[Path]) -> NDArray[Any]:
    from monai.data.image_reader import PydicomReader  # noqa: PLC0415 - slow to import

    reader: Any = PydicomReader()
    try:
        datasets = reader.read([str(file) for file in files])
        if len(files) > 1:
            # the reader stacks by InstanceNumber, which need not follow the position
            for number, dataset in enumerate(datasets, 1):
                dataset.InstanceNumber = number
            reader.has_series, reader.filenames = True, [[str(file) for file in files]]
        values, _ = reader.get_data(datasets)
    except (OSError, EOFError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        msg = f"{path}: its pixels cannot be decoded ({one_line(error)}); copy the series again or decompress it"
        raise SourceError(msg) from error
    stacked: NDArray[Any] = np.asarray(values)
    return stacked


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files of a folder, by name."""
    return sorted(file for file in folder.iterdir() if file.is_file() and _is_dicom(file))


def _is_dicom(file: Path) -> bool:
    """Return whether a file has the preamble of DICOM, and is no directory of a disc."""
    if file.name == "DICOMDIR":
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _header(file: Path) -> SliceHeader:
    from pydicom import dcmread  # noqa: PLC0415 - an extra
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415 - an extra

    try:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))
    except (OSError, EOFError, InvalidDicomError) as error:
        msg = f"{file}: is not a DICOM file that can be read ({one_line(error)})"
        raise SourceError(msg) from error
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        msg = f"{file}: holds colours ({dataset.SamplesPerPixel} values per pixel); one number per voxel is needed"
        raise SourceError(msg)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        if dataset.get(name) is None:
            frames = int(dataset.get("NumberOfFrames") or 1)
            what = f"holds {frames} frames in one file" if frames > 1 else f"has no {name}"
            msg = f"{file}: {what}, so it is no slice of a volume; convert it to NIfTI first"
            raise SourceError(msg)
    return SliceHeader(
        file,
        str(dataset.get("SeriesInstanceUID", "none")),
        int(dataset.Rows),
        int(dataset.Columns),
        _dtype(dataset),
        _numbers(dataset.PixelSpacing),
        _numbers(dataset.ImagePositionPatient),
        _numbers(dataset.ImageOrientationPatient),
        float(dataset.get("SliceThickness") or 1.0),
    )


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _dtype(dataset: Any) -> str:
    """Return the type of values: a rescaled slice is float32, as MONAI makes it."""
    if dataset.get("RescaleSlope") is not None or dataset.get("RescaleIntercept") is not None:
        return "float32"
    bits, signed = int(dataset.get("BitsAllocated", 16)), int(dataset.get("PixelRepresentation", 0)) == 1
    if bits not in {8, 16} and not (bits == 32 and signed):
        return "float32"
    return f"{'int' if signed else 'uint'}{bits}"


def _affine(ordered: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """Return (column, row, slice) to millimetres in RAS+ (DICOM part 3, C.7.6.2.1.1, turned from LPS+)."""
    first, last = ordered[0], ordered[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    step = np.array(last.position) - np.array(first.position)
    affine[:3, 2] = step / (len(ordered) - 1) if len(ordered) > 1 else first.normal * first.thickness
    affine[:3, 3] = first.position
    affine[:2] *= -1
    return affine
