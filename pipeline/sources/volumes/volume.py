"""The one door to volumes: is it one, what is it, and its values, held once per process."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, SourceError
from segment_tiles.pipeline.grid.volume import VolumeSpec
from segment_tiles.pipeline.sources.volumes import dicom_series, nifti, nrrd
from segment_tiles.pipeline.sources.volumes.selection import Selection


def volume_kind(uri: str) -> str | None:
    """Return nifti, nrrd or dicom, or None where the name is not that of a volume.

    Raises
    ------
    MissingExtraError
        Where it is a volume, but the library that reads it is not installed.
    """
    name, path = uri.lower(), Path(uri)
    if name.endswith(nifti.SUFFIXES):
        return _with_extra("nifti", uri, "nibabel")
    if name.endswith(nrrd.SUFFIXES):
        return _with_extra("nrrd", uri, "nrrd")
    if name.endswith((".dcm", ".ima")) or (path.is_dir() and _looks_like_series(path)):
        _with_extra("dicom", uri, "pydicom")
        return "dicom" if path.exists() and dicom_series.is_dicom_series(path) else None
    return None


def read_volume_spec(uri: str, selection: Selection) -> VolumeSpec:
    """Return what is known of a volume without reading a voxel.

    Raises
    ------
    SourceError
        Where it is missing, damaged, or leaves a choice open.
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
    if selection.t:
        msg = f"--t is {selection.t}, but {path} is a DICOM series of one time"
        raise SourceError(msg)
    return dicom_series.open_series(path).spec


def held_volume(uri: str, selection: Selection) -> NDArray[Any]:
    """Return channels x i x j x k of a volume; the last one stays in memory for the next call.

    Raises
    ------
    SourceError
        Where the values cannot be read.
    """
    path = Path(uri)
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _held_volume(uri, selection, changed)


def forget_volumes() -> None:
    """Free the volume that this process holds."""
    _held_volume.cache_clear()


@lru_cache(maxsize=1)
def _held_volume(uri: str, selection: Selection, _changed: int) -> NDArray[Any]:
    return read_volume(uri, selection)


def read_volume(uri: str, selection: Selection) -> NDArray[Any]:
    """Return channels x i x j x k of a volume, read now.

    Raises
    ------
    SourceError
        Where the values cannot be read.
    """
    spec = read_volume_spec(uri, selection)
    kind, path = volume_kind(uri), Path(uri)
    if kind == "nifti":
        values = nifti.read_nifti_values(path, selection, spec.dtype)
    elif kind == "nrrd":
        values = nrrd.read_nrrd_values(path, spec.dtype)
    else:
        values = dicom_series.read_series_values(path, spec.dtype)
    if values.shape != (spec.channels, *spec.shape):
        msg = f"{uri}: its header says {spec.shape}, its values have {values.shape[1:]}; the file is damaged"
        raise SourceError(msg)
    values = np.asarray(values)
    values.flags.writeable = False
    return values


def _looks_like_series(folder: Path) -> bool:
    """Return whether a folder has a file with DICOM's preamble; no Zarr store has one."""
    if any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
        return False
    return bool(dicom_series.dicom_files(folder))


def _with_extra(kind: str, uri: str, module: str) -> str:
    for needed in (module, "nibabel"):
        if importlib.util.find_spec(needed) is None:
            msg = f"{uri} is a volume; install the extra medical to read it: pip install 'segment-tiles[medical]'"
            raise MissingExtraError(msg)
    return kind
