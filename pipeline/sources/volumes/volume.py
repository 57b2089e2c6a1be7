"""The one door to volumes: is it one, what is it, and its values, in blocks or whole."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, SourceError
from segment_tiles.pipeline.grid.volume import VolumeSpec
from segment_tiles.pipeline.names import is_stack
from segment_tiles.pipeline.sources.volumes import dicom_series, nifti, nrrd
from segment_tiles.pipeline.sources.volumes.dicom_folder import dicom_files, has_preamble
from segment_tiles.pipeline.sources.volumes.foreign import refuse_disc, refuse_foreign
from segment_tiles.pipeline.sources.volumes.selection import Selection

BLOCK_BYTES: Final = 32 * 2**20
"""Bytes of a part of a volume that is read at once, at most, unless a single slice has more."""
DEPTH: Final = 32
"""Slices of such a part, at most."""


def volume_kind(uri: str) -> str | None:
    """Return nifti, nrrd or dicom, or None if the name is not that of a volume.

    Raises
    ------
    MissingExtraError
        If it is a volume, but the library that reads it is not installed.
    SourceError
        If it is a volume in a format that is not read.
    """
    if is_stack(uri):
        return None
    name, path = uri.lower(), Path(uri)
    if name.endswith(nifti.SUFFIXES):
        return _with_extra("nifti", uri, "nibabel")
    if name.endswith(nrrd.SUFFIXES):
        return _with_extra("nrrd", uri, "nrrd")
    is_file = path.is_file()
    if is_file:
        refuse_foreign(path)
    if (is_file and has_preamble(path)) or (path.is_dir() and _looks_like_series(path)):
        _with_extra("dicom", uri, "pydicom")
        return "dicom" if path.exists() and dicom_series.is_dicom_series(path) else None
    return None


def is_slice_series(uri: str) -> bool:
    """Return whether a volume is a DICOM series.

    Raises
    ------
    MissingExtraError, SourceError
        As `volume_kind`.
    """
    return volume_kind(uri) == "dicom"


def read_volume_spec(uri: str, selection: Selection) -> VolumeSpec:
    """Return what is known of a volume without reading a voxel.

    Raises
    ------
    SourceError
        If it is missing, damaged, or leaves a choice open.
    """
    kind, path = volume_kind(uri), Path(uri)
    if not path.exists():
        msg = f"{uri}: no such file; give the path of a volume"
        raise SourceError(msg)
    if kind is None:
        msg = f"{uri}: is no volume; give NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), or a DICOM series"
        raise SourceError(msg)
    if kind == "nifti":
        return nifti.read_nifti_spec(path, selection)
    if kind == "nrrd":
        return nrrd.read_nrrd_spec(path, selection)
    return dicom_series.read_series_spec(path, selection)


def read_volume(uri: str, selection: Selection) -> NDArray[Any]:
    """Return channels x i x j x k of a volume, whole.

    Raises
    ------
    SourceError
        If the values cannot be read.
    """
    spec = read_volume_spec(uri, selection)
    # k slowest, as in the files
    values = np.empty((spec.channels, *spec.shape[::-1]), spec.dtype).transpose(0, 3, 2, 1)
    for channel, first, block in read_blocks(uri, selection, spec):
        values[channel, :, :, first : first + block.shape[2]] = block
    values.flags.writeable = False
    return values


def read_blocks(
    uri: str, selection: Selection, spec: VolumeSpec, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield a volume in blocks along k, its slowest axis: channel, first k, and i x j x k; each once.

    Parameters
    ----------
    uri, selection, spec
        What is read, and what is known of it.
    start, stop
        The part along k that is wanted; None is the end.

    Raises
    ------
    SourceError
        If the values cannot be read.
    """
    kind, path = volume_kind(uri), Path(uri)
    depth, end = block_depth(spec), spec.shape[2] if stop is None else stop
    edges = [(first, min(first + depth, end)) for first in range(start, end, depth)]
    if kind == "nifti":
        whole = end == spec.shape[2] and start == 0
        blocks = nifti.read_nifti_blocks(path, selection, spec.dtype, edges, to_the_end=whole)
    elif kind == "nrrd":
        blocks = nrrd.read_nrrd_blocks(path, spec.dtype, edges)
    else:
        blocks = dicom_series.read_series_blocks(path, selection, spec.dtype, edges)
    for channel, first, values in blocks:
        if values.shape[:2] != spec.shape[:2]:
            msg = f"{uri}: its header says {spec.shape}, its values have {values.shape}; the file is damaged"
            raise SourceError(msg)
        yield channel, first, values


def is_read_whole(uri: str) -> bool:
    """Return whether reading a volume holds it whole for a while: what no library reads in parts."""
    return volume_kind(uri) == "nrrd" and not nrrd.is_streamed(Path(uri))


def block_depth(spec: VolumeSpec) -> int:
    """Return how many layers along k are read at once: as many as BLOCK_BYTES hold, and not more than DEPTH.

    >>> block_depth(VolumeSpec((512, 512, 700), 1, "float32", ()))
    32
    >>> block_depth(VolumeSpec((2048, 2048, 700), 1, "float32", ()))
    2
    """
    columns, rows, layers = spec.shape
    return max(1, min(DEPTH, layers, BLOCK_BYTES // (columns * rows * np.dtype(spec.dtype).itemsize)))


def _looks_like_series(folder: Path) -> bool:
    """Return whether a folder has a file with DICOM's preamble; no Zarr store has one."""
    if any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
        return False
    found = bool(dicom_files(folder))
    if not found:
        refuse_disc(folder)
    return found


def _with_extra(kind: str, uri: str, module: str) -> str:
    for needed in (module, "nibabel"):
        if importlib.util.find_spec(needed) is None:
            msg = f"{uri} is a volume; install the extra medical to read it: pip install 'segment-tiles[medical]'"
            raise MissingExtraError(msg)
    return kind
