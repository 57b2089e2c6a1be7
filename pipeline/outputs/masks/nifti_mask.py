"""``classes.nii.gz``: the class codes on the voxels of the source, with its header repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.stores.store import array_of
from segment_tiles.pipeline.outputs.stores.volume_store import VolumeGeometry, read_geometry
from segment_tiles.pipeline.sources.volumes.nifti import affine_in_millimeters, parsed_header

if TYPE_CHECKING:
    from io import IOBase

SCANNER: Final = 1
"""Code of sform and qform that says: coordinates of the scanner."""
LAYERS_BYTES: Final = 32 * 2**20
"""Bytes of the mask that are in memory at once."""


def write_nifti(group: zarr.Group, path: Path) -> None:
    """Write the class codes as NIfTI: integers, unscaled, in the position and order of the source.

    If the source is NIfTI, its header is repeated: affine, sform and qform with their codes, units,
    zooms, byte order. Of other sources the affine is written as sform and qform of the scanner. Memory
    holds LAYERS_BYTES of the mask, or one layer if that is more.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    OutputError
        If the affine of the written mask is not that of the source.
    """
    geometry = read_geometry(group)
    with finished_file(path) as partial:
        _write(partial, _header(geometry, array_of(group, "classes").dtype), _layers(group, geometry))
        written, expected = _affine_of(partial), np.asarray(geometry.affine)
        if (
            geometry.nifti_header is not None and geometry.is_whole and not np.array_equal(written, expected)
        ):  # before the file has its name
            msg = (
                f"{path}: not written: its affine would be {written.tolist()}, not {expected.tolist()} "
                "as in the source; export another format, and report this"
            )
            raise OutputError(msg)


def _write(path: Path, header: Any, layers: Iterable[NDArray[Any]]) -> None:
    """Write a single file, header first, then i x j x k with k slowest (NIfTI-1 specification)."""
    from nibabel.openers import ImageOpener  # noqa: PLC0415 - an extra
    from nibabel.volumeutils import array_to_file  # noqa: PLC0415 - an extra

    header.set_data_offset(header.single_vox_offset)
    with ImageOpener(str(path), "wb") as stream:
        header.write_to(stream)
        for values in layers:
            array_to_file(
                values, cast("IOBase", stream), header.get_data_dtype(), offset=stream.tell(), order="F"
            )


def _layers(group: zarr.Group, geometry: VolumeGeometry) -> Iterator[NDArray[Any]]:
    """Yield the class codes i x j x k in parts along k, in the stored order of the source."""
    array, slicing = array_of(group, "classes"), geometry.slicing
    columns, rows, depth = geometry.shape
    step = max(1, LAYERS_BYTES // (columns * rows * array.dtype.itemsize))
    axis = slicing.order.index(2)
    for first in range(0, depth, step):
        box = [slice(None)] * 3
        box[axis] = slice(*slicing.span(axis, first, min(first + step, depth), depth))
        yield slicing.stored(np.asarray(array[box[0], box[1], box[2]]))


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
    return affine_in_millimeters(image)


def _header(geometry: VolumeGeometry, dtype: np.dtype[Any]) -> Any:
    import nibabel  # noqa: PLC0415 - an extra

    if geometry.nifti_header is None:
        header = nibabel.Nifti1Header()
        affine = np.asarray(geometry.affine)
        header.set_data_shape(geometry.shape)
        header.set_sform(affine, code=SCANNER)
        header.set_qform(affine, code=SCANNER)
        header.set_xyzt_units("mm")
    else:
        header = parsed_header(geometry.nifti_header)
        header.set_data_shape(geometry.shape)
        _move(header, geometry)
    header.set_data_dtype(dtype)
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
