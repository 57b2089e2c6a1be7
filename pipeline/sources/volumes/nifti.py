"""NIfTI volumes: header without a voxel, values through MONAI's NibabelReader."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.grid.volume import VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.volumes.selection import Blocks, Selection, checked_dtype, checked_shape

SUFFIXES = (".nii", ".nii.gz")
NIFTI2_HEADER = 540
"""Bytes of a NIfTI-2 header."""


def read_nifti_spec(path: Path, selection: Selection) -> VolumeSpec:
    """Return what the header says of the chosen part of a file.

    Raises
    ------
    SourceError
        Where it is no NIfTI file, holds colours or complex values, or leaves the choice of a time open.
    """
    image = _opened(path)
    header = image.header
    if image.get_data_dtype().kind not in "uif":
        msg = f"{path}: holds {_kind_of(image.get_data_dtype())}; one number per voxel is needed"
        raise SourceError(msg)
    shape, channels = checked_shape(path, image.shape, selection)
    stored = image.get_data_dtype()
    # nibabel takes the scale out of the header when it loads a file, and keeps it with the voxels
    proxy: Any = image.dataobj
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    _check_affine(path, image.affine)
    binary = io.BytesIO()
    header.write_to(binary)
    return VolumeSpec(
        shape,
        channels,
        "float32" if scaled else checked_dtype(stored),
        as_matrix(image.affine),
        nifti_header=binary.getvalue()[: int(header["sizeof_hdr"])],
    )


def read_nifti_blocks(
    path: Path, selection: Selection, dtype: str, blocks: Blocks
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield the channel, the first k, and i x j x k of each block, in the scale that the header declares.

    Channel after channel, each from its start to its end, as they lie in the file: going back in a
    compressed file would mean to read it again.

    Raises
    ------
    SourceError
        Where the file ends early or is damaged.
    """
    from monai.data.image_reader import NibabelReader  # noqa: PLC0415 - seconds to import

    _opened(path)
    # without a map into memory, of which the system would count every page that was read as ours
    image: Any = NibabelReader(keep_file_open=True, mmap=False).read(path)
    times = selection.times(image.shape) if len(image.shape) > 3 else (None,)
    for channel, time in enumerate(times):
        for first, stop in blocks:
            try:
                values = np.asarray(image.dataobj[_place(image.shape, slice(first, stop), time)])
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise _damaged(path, error) from error
            # in the byte order of this machine; copied only where something changes
            yield channel, first, values.astype(dtype, copy=False)


def parsed_header(header: bytes) -> Any:
    """Return the header of a file, kept as bytes, as nibabel's NIfTI-1 or NIfTI-2 header."""
    import nibabel  # noqa: PLC0415 - an extra

    kind = nibabel.Nifti2Header if len(header) == NIFTI2_HEADER else nibabel.Nifti1Header
    return kind.from_fileobj(io.BytesIO(header))


def _opened(path: Path) -> Any:
    """Return the file with its header, by the library that MONAI's reader calls too."""
    import nibabel  # noqa: PLC0415 - an extra

    try:
        return nibabel.load(path)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise _damaged(path, error) from error


def _place(shape: tuple[int, ...], k: slice, time: int | None) -> tuple[Any, ...]:
    further = () if time is None else (time, *(0 for _ in shape[4:]))
    return (slice(None), slice(None), k, *further)


def _check_affine(path: Path, affine: NDArray[Any]) -> None:
    if not np.isfinite(affine).all() or abs(float(np.linalg.det(affine[:3, :3]))) < 1e-9:
        msg = f"{path}: its affine has no volume ({affine[:3].tolist()}); repair sform or qform first"
        raise SourceError(msg)


def _kind_of(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"colours ({', '.join(dtype.names)})"
    return f"{dtype.name} values"


def _damaged(path: Path, error: Exception) -> SourceError:
    if not path.exists():
        return SourceError(f"{path}: no such file; give a volume")
    early = isinstance(error, (EOFError, gzip.BadGzipFile, zlib.error)) or "Expected" in str(error)
    what = "ends early or is damaged" if early else "is not a NIfTI volume that can be read"
    return SourceError(f"{path}: {what} ({one_line(error)}); copy the file again")
