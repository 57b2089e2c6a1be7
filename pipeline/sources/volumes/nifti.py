"""NIfTI volumes through nibabel: header without a voxel, values read forward in blocks."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.volume import VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.damage import DAMAGE, damage_refused, said
from segment_tiles.pipeline.sources.volumes.selection import Blocks, Selection, checked_dtype, checked_shape

SUFFIXES = (".nii", ".nii.gz", ".nii.bz2")
NIFTI2_HEADER = 540
"""Bytes of a NIfTI-2 header."""
MILLIMETERS_PER_UNIT: Final = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
"""Names by nibabel of the units that a header can say."""
SAME_PLACE: Final = 1e-2
"""Millimetres up to which two affines place a corner of a volume equally: sform and qform are rounded."""
PIECE: Final = 2**20
"""Bytes that are read at once behind the last voxel."""
WHAT: Final = "a NIfTI volume"


def read_nifti_spec(path: Path, selection: Selection) -> VolumeSpec:
    """Return what the header says of the chosen part of a file.

    Raises
    ------
    SourceError
        If it is no NIfTI file, ends early, holds colours or complex values, or leaves the choice of a time open.
    """
    image, repairs = _opened(path)
    with damage_refused(path, WHAT, *_nibabel_errors()):
        return _spec_of(path, image, repairs, selection)


def _spec_of(path: Path, image: Any, repairs: Sequence[str], selection: Selection) -> VolumeSpec:
    header = image.header
    stored = image.get_data_dtype()
    if stored.kind not in "uif":
        msg = f"{path}: holds {_kind_of(stored)}; one number per voxel is needed"
        raise SourceError(msg)
    shape, channels = checked_shape(path, image.shape, selection)
    # nibabel takes the scale out of the header when it loads a file, and keeps it with the voxels
    proxy: Any = image.dataobj
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    affine = affine_in_millimeters(image)
    _check_affine(path, affine)
    _check_size(path, int(proxy.offset) + int(np.prod(image.shape, dtype=np.int64)) * stored.itemsize)
    binary = io.BytesIO()
    header.write_to(binary)
    return VolumeSpec(
        shape,
        channels,
        "float32" if scaled else checked_dtype(stored),
        as_matrix(affine),
        nifti_header=binary.getvalue()[: int(header["sizeof_hdr"])],
        times=int(image.shape[3]) if len(image.shape) > 3 else 1,
        notes=(*(f"{path}: {text}" for text in repairs), *_notes(path, image)),
    )


def read_nifti_blocks(
    path: Path, selection: Selection, dtype: str, blocks: Blocks, *, to_the_end: bool
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield the channel, the first k, and i x j x k of each block, in the scale that the header declares.

    Channel after channel, each from its start to its end, as they lie in the file: going back in a
    compressed file would mean to read it again.

    Parameters
    ----------
    to_the_end
        Whether the stream is read on behind the last block: only there stand checksum and length.

    Raises
    ------
    SourceError
        If the file ends early or is damaged.
    """
    from nibabel.openers import ImageOpener  # noqa: PLC0415 - an extra

    kind = type(_opened(path)[0])
    try:
        with ImageOpener(str(path)) as stream:
            # without a map into memory, of which the system would count every page that was read as ours
            image: Any = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False)
            times = selection.times(image.shape) if len(image.shape) > 3 else (None,)
            for channel, time in enumerate(times):
                for first, stop in blocks:
                    values = np.asarray(image.dataobj[_index(image.shape, slice(first, stop), time)])
                    # in the byte order of this machine; copied only if something changes
                    yield channel, first, values.astype(dtype, copy=False)
            while to_the_end and stream.read(PIECE):
                pass
    except (*DAMAGE, *_nibabel_errors()) as error:
        raise _damaged(path, error) from error


def parsed_header(header: bytes) -> Any:
    """Return the header of a file, kept as bytes, as nibabel's NIfTI-1 or NIfTI-2 header."""
    import nibabel  # noqa: PLC0415 - an extra

    kind = nibabel.Nifti2Header if len(header) == NIFTI2_HEADER else nibabel.Nifti1Header
    return kind.from_fileobj(io.BytesIO(header))


def affine_in_millimeters(image: Any) -> NDArray[np.float64]:
    """Return the affine of an image of nibabel in millimetres; nibabel's own is in the unit of the file."""
    affine: NDArray[np.float64] = np.array(image.affine, dtype=float)
    affine[:3] *= MILLIMETERS_PER_UNIT.get(_unit(image.header), 1.0)
    return affine


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that the standard does not have
        return f"code {int(header['xyzt_units']) & 7}"


def _notes(path: Path, image: Any) -> Iterator[str]:
    """Say what the header leaves open and what is assumed."""
    header = image.header
    unit = _unit(header)
    if unit not in MILLIMETERS_PER_UNIT:
        yield f"{path}: says no known unit of length ({unit}); millimetres are assumed"
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        yield f"{path}: has neither sform nor qform, so left and right are a guess: nibabel's, first axis to the left"
    elif sform and qform:
        ends = np.array([(0, 0, 0, 1), (*(side - 1 for side in image.shape[:3]), 1)], dtype=float).T
        apart = np.abs((header.get_sform() - header.get_qform()) @ ends)[:3].max()
        apart *= MILLIMETERS_PER_UNIT.get(unit, 1.0)
        if apart > max(SAME_PLACE, 0.01 * min(header.get_zooms()[:3])):
            yield f"{path}: sform and qform place it up to {apart:.3g} mm apart; sform is used, as nibabel does"


def _opened(path: Path) -> tuple[Any, list[str]]:
    """Return the file with its header, and what nibabel says that it had to repair in it."""
    import nibabel  # noqa: PLC0415 - an extra
    from nibabel import imageglobals  # noqa: PLC0415 - an extra

    heard = _Heard()
    usual = imageglobals.logger
    # as nibabel says to do: its own prints to stderr, and is silenced in a command
    imageglobals.logger = logging.Logger("nibabel of one file")
    imageglobals.logger.addHandler(heard)
    try:
        return nibabel.load(path), heard.messages
    except (*DAMAGE, *_nibabel_errors()) as error:
        raise _damaged(path, error) from error
    finally:
        imageglobals.logger = usual


def _nibabel_errors() -> tuple[type[Exception], ...]:
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415 - an extra
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415 - an extra

    return ImageFileError, HeaderDataError


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())


def _index(shape: tuple[int, ...], k: slice, time: int | None) -> tuple[Any, ...]:
    further = () if time is None else (time, *(0 for _ in shape[4:]))
    return (slice(None), slice(None), k, *further)


def _check_affine(path: Path, affine: NDArray[Any]) -> None:
    sides = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if not sides.all() or abs(float(np.linalg.det(affine[:3, :3] / sides))) < 1e-6:
        msg = f"{path}: its affine has no volume ({affine[:3].tolist()}); repair sform or qform first"
        raise SourceError(msg)


def _check_size(path: Path, needed: int) -> None:
    """Refuse a file without compression that is shorter than its header says, before anything is computed."""
    size = path.stat().st_size
    if path.suffix.lower() == ".nii" and size < needed:
        msg = (
            f"{path}: ends early: its header needs {needed:,} bytes, and it has {size:,}; copy the file again"
        )
        raise SourceError(msg)


def _kind_of(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"colours ({', '.join(dtype.names)})"
    return f"{dtype.name} values"


def _damaged(path: Path, error: Exception) -> SourceError:
    if not path.exists():
        return SourceError(f"{path}: no such file; give a volume")
    early = isinstance(error, (EOFError, gzip.BadGzipFile, zlib.error)) or "Expected" in str(error)
    early = early or (path.suffix == ".bz2" and isinstance(error, OSError))
    what = "ends early or is damaged" if early else "is not a NIfTI volume that can be read"
    return SourceError(f"{path}: {what} ({said(error)}); copy the file again")
