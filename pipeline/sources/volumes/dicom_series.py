"""DICOM series, classic and enhanced: slices put in order by their position, values decoded by pydicom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.volume import VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.damage import DAMAGE, said
from segment_tiles.pipeline.sources.volumes.dicom_folder import (
    contents_of,
    dicom_files,
    has_preamble,
    is_slides_only,
)
from segment_tiles.pipeline.sources.volumes.dicom_frames import slice_headers
from segment_tiles.pipeline.sources.volumes.dicom_pixels import library_errors
from segment_tiles.pipeline.sources.volumes.selection import Blocks, Selection, checked_shape
from segment_tiles.pipeline.sources.volumes.series_checks import SliceHeader, in_order


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """A series whose slices were checked and sorted along their normal."""

    volumes: tuple[tuple[SliceHeader, ...], ...]
    """Slices in order, of every volume of an enhanced file (times, echoes); a classic series has one."""
    spec: VolumeSpec
    """Of the first volume. Stored axes: column, row, slice."""

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order of the slices of the first volume."""
        return tuple(header.file for header in self.volumes[0])

    @property
    def is_enhanced(self) -> bool:
        """Whether slices are frames of a file of several."""
        return any(header.frame is not None for header in self.volumes[0])


def is_dicom_series(path: Path) -> bool:
    """Return whether a file, or the first image of a folder, is DICOM and not a whole slide."""
    files = [path] if path.is_file() else dicom_files(path)
    files = [file for file in files if has_preamble(file)]
    return bool(files) and not is_slides_only(files)


def open_series(path: Path) -> DicomSeries:
    """Read the headers of a series and put its slices in order.

    Raises
    ------
    SourceError
        If slices are missing, double, of different orientation, shape or spacing, in colour, or of
        several series.
    """
    files = [path] if path.is_file() else (dicom_files(path) if path.is_dir() else [])
    return _open_series(path, tuple((file, file.stat().st_mtime_ns) for file in files))


def read_series_spec(path: Path, selection: Selection) -> VolumeSpec:
    """Return what is known of the chosen volumes of a series.

    Raises
    ------
    SourceError
        As `open_series`, and if the choice of a volume is left open.
    """
    series = open_series(path)
    spec, count = series.spec, len(series.volumes)
    shape = spec.shape if count == 1 else (*spec.shape, count)
    _, channels = checked_shape(path, shape, selection)
    return VolumeSpec(
        spec.shape, channels, spec.dtype, spec.affine,
        times=count, has_known_depth=spec.has_known_depth, notes=spec.notes,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _open_series(path: Path, files: tuple[tuple[Path, int], ...]) -> DicomSeries:
    contents = contents_of(path)
    headers = [header for file in contents.images for header in slice_headers(file)]
    series = sorted({header.series for header in headers})
    if len(series) > 1:
        msg = f"{path}: holds {len(series)} series ({', '.join(series[:3])}); give a folder with one of them"
        raise SourceError(msg)
    volumes = in_order(path, headers)
    ordered = volumes[0]
    first = ordered[0]
    dtypes = {header.dtype for header in headers}
    has_known_depth = len(ordered) > 1 or first.thickness is not None
    spec = VolumeSpec(
        (first.columns, first.rows, len(ordered)),
        1,
        dtypes.pop() if len(dtypes) == 1 else "float32",
        as_matrix(_affine(ordered)),
        times=len(volumes),
        has_known_depth=has_known_depth,
        notes=(*contents.notes, *_notes(path, headers, has_known_depth=has_known_depth)),
    )
    return DicomSeries(tuple(tuple(slices) for slices in volumes), spec)


def _notes(path: Path, headers: Sequence[SliceHeader], *, has_known_depth: bool) -> Iterator[str]:
    if any(header.is_inverted for header in headers):
        yield (
            f"{path}: shows low values bright (MONOCHROME1); values are read as they are stored, not inverted: "
            "check that the model was trained on such images"
        )
    if not has_known_depth:
        yield f"{path}: is one slice without a thickness, so its depth is unknown and no millilitres are reported"


def read_series_blocks(
    path: Path, selection: Selection, dtype: str, blocks: Blocks
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield the channel, the first slice, and columns x rows x slices of each block, rescaled as the files say.

    Raises
    ------
    SourceError
        If the pixels of a slice cannot be decoded.
    """
    series = open_series(path)
    columns, rows, layers = series.spec.shape
    count = len(series.volumes)
    times = selection.times((columns, rows, layers, count)) if count > 1 else (0,)
    for channel, time in enumerate(times):
        volume = series.volumes[time]
        slices = _slices([header for first, stop in blocks for header in volume[first:stop]], dtype)
        for first, stop in blocks:
            values = np.empty((stop - first, rows, columns), dtype)
            for target, read in zip(values, slices, strict=False):
                target[:] = read
            yield channel, first, values.transpose(2, 1, 0)


def _slices(headers: Sequence[SliceHeader], dtype: str) -> Iterator[NDArray[Any]]:
    """Yield rows x columns of each slice; a file of many frames is opened once, since its groups take long."""
    from pydicom.pixels.utils import iter_pixels  # noqa: PLC0415 - an extra

    for file, of_file in groupby(headers, key=lambda header: header.file):
        wanted, stored = list(of_file), _Stored()
        try:
            frames = iter_pixels(
                file, ds_out=stored.dataset, indices=[header.frame or 0 for header in wanted]
            )
            for header, pixels in zip(wanted, frames, strict=True):
                yield _rescaled(stored.values(pixels), header.rescale, np.dtype(dtype))
        except (*DAMAGE, *library_errors()) as error:
            msg = f"{file}: its pixels cannot be decoded ({said(error)}); copy the series again or decompress it"
            raise SourceError(msg) from error


class _Stored:
    """Stored values of the frames of a file: bits that are not part of them are dropped."""

    def __init__(self) -> None:
        from pydicom import Dataset  # noqa: PLC0415 - an extra

        self.dataset = Dataset()

    def values(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return values of ``BitsStored`` bits: old files keep overlays in the bits above them."""
        dataset: Any = self.dataset
        allocated, stored = (
            int(dataset.BitsAllocated),
            int(dataset.get("BitsStored") or dataset.BitsAllocated),
        )
        if stored >= allocated or pixels.dtype.kind not in "ui" or int(dataset.HighBit) != stored - 1:
            return pixels
        spare = pixels.dtype.type(pixels.dtype.itemsize * 8 - stored)
        kept: NDArray[Any] = (pixels << spare) >> spare  # keeps the sign of signed values
        return kept


def _rescaled(values: NDArray[Any], rescale: tuple[float, float], dtype: np.dtype[Any]) -> NDArray[Any]:
    if rescale != (1.0, 0.0):
        values = values * rescale[0] + rescale[1]
    return values.astype(dtype, copy=False)


def _affine(ordered: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """Return (column, row, slice) to millimetres in RAS+ (DICOM part 3, C.7.6.2.1.1, turned from LPS+)."""
    first, last = ordered[0], ordered[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    step = np.array(last.position) - np.array(first.position)
    one = first.normal * (1.0 if first.thickness is None else first.thickness)
    affine[:3, 2] = step / (len(ordered) - 1) if len(ordered) > 1 else one
    affine[:3, 3] = first.position
    affine[:2] *= -1
    return affine
