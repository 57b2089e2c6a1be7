"""``classes.nii.gz``: the class codes on the voxels of the source, with its header repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.store import array_of
from segment_tiles.pipeline.outputs.volume_store import VolumeGeometry, read_geometry
from segment_tiles.pipeline.sources.volumes.nifti import NIFTI2_HEADER, parsed_header

SCANNER: Final = 1
"""Code of sform and qform that says: coordinates of the scanner."""


def write_nifti(group: zarr.Group, path: Path) -> None:
    """Write the class codes as NIfTI: integers, unscaled, in the place and order of the source.

    Where the source is NIfTI its header is repeated: affine, sform and qform with their codes, units,
    zooms, byte order. Of other sources the affine is written as sform and qform of the scanner. The whole
    mask is in memory, one or two bytes per voxel.

    Raises
    ------
    WriteFailedError
        Where the disk is full or read-only.
    OutputError
        Where the affine of the written mask is not that of the source.
    """
    import nibabel  # noqa: PLC0415 - an extra

    geometry = read_geometry(group)
    stored = stored_classes(group, geometry)
    header = _header(geometry, stored)
    kind: Any = nibabel.Nifti2Image if int(header["sizeof_hdr"]) == NIFTI2_HEADER else nibabel.Nifti1Image
    image = kind(stored, None, header)
    with finished_file(path) as partial:
        nibabel.save(image, partial)
        written = _affine_of(partial)
    if geometry.nifti_header is not None and geometry.is_whole:
        expected = np.asarray(geometry.affine)
        if not np.array_equal(written, expected):
            path.unlink()
            msg = f"{path}: its affine {written.tolist()} is not that of the source, {expected.tolist()}; removed"
            raise OutputError(msg)


def stored_classes(group: zarr.Group, geometry: VolumeGeometry) -> NDArray[Any]:
    """Return the class codes i x j x k, in the stored order of the source; slice by slice into one array."""
    array = array_of(group, "classes")
    stored = np.empty(geometry.shape, dtype=array.dtype, order="F")
    view = geometry.slicing.view(stored)
    for number in range(view.shape[0]):
        view[number] = array[number]
    return stored


def _affine_of(path: Path) -> NDArray[np.float64]:
    import nibabel  # noqa: PLC0415 - an extra

    image: Any = nibabel.load(path)
    affine: NDArray[np.float64] = np.asarray(image.affine)
    return affine


def _header(geometry: VolumeGeometry, stored: NDArray[Any]) -> Any:
    import nibabel  # noqa: PLC0415 - an extra

    if geometry.nifti_header is None:
        header = nibabel.Nifti1Header()
        affine = np.asarray(geometry.affine)
        header.set_data_shape(stored.shape)
        header.set_sform(affine, code=SCANNER)
        header.set_qform(affine, code=SCANNER)
        header.set_xyzt_units("mm")
    else:
        header = parsed_header(geometry.nifti_header)
        header.set_data_shape(stored.shape)
        _move(header, geometry)
    header.set_data_dtype(stored.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("label", name="classes")
    return header


def _move(header: Any, geometry: VolumeGeometry) -> None:
    """Move the origin of sform and qform to the first voxel of the box."""
    if geometry.origin == (0, 0, 0):
        return
    step = np.eye(4)
    step[:3, 3] = geometry.origin
    for axis, row in enumerate(("srow_x", "srow_y", "srow_z")):
        header[row][3] = (header.get_sform() @ step)[axis, 3]
    offset = (header.get_qform() @ step)[:3, 3]
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = offset
