"""``classes.seg.dcm`` of a volume: a DICOM Segmentation that refers to the slices of its series.

One frame per slice, and per segment of it if the segments are bits (`dicom_segmentation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.dicom.references import completed
from segment_tiles.pipeline.outputs.dicom.segmentation import (
    check_size,
    refusing_bad_references,
    segmentation,
)
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.masks.nifti_mask import stored_classes
from segment_tiles.pipeline.outputs.stores.store import read_class_table
from segment_tiles.pipeline.outputs.stores.volume_store import read_geometry
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series


def write_dicom_seg(
    group: zarr.Group, path: Path, source: str, *, model: str, version: str, kind: DicomSegKind = "binary"
) -> None:
    """Write the class codes of a volume as one DICOM SEG object.

    Parameters
    ----------
    group
        Finished store of a run on a whole series.
    path
        The file.
    source
        Folder of the series: patient, study and frame of reference are taken over from it.
    model, version
        Name of the model that made the map, and the version of this program.
    kind
        How the segments are stored.

    Raises
    ------
    MissingExtraError
        If highdicom is not installed.
    OutputError
        If the series has changed, lacks what such an object must say, or is too large.
    WriteFailedError
        If the disk is full or read-only.
    """
    geometry = read_geometry(group)
    table = read_class_table(group)
    check_voxels(geometry.spec.voxels, table.count - 1, kind)
    series = open_series(Path(source))
    if series.spec.shape != geometry.source_shape or not geometry.is_whole:
        msg = (
            f"{source}: has {series.spec.shape} voxels, the class map {geometry.shape}; they must be the same"
        )
        raise OutputError(msg)
    frames = _frames(stored_classes(group, geometry), table)
    with refusing_bad_references(source, "series", "nifti"):
        headers = [completed(header) for header in series_headers(series.files)]
        made = segmentation(headers, frames, table, kind=kind, model=model, version=version)
    with finished_file(path) as partial:
        made.save_as(partial)


def check_voxels(voxels: int, segments: int = 1, kind: DicomSegKind = "binary") -> None:
    """Refuse a mask that is too large to be made in memory, or for the format.

    Raises
    ------
    OutputError
        If it is.
    """
    check_size(voxels, "voxels", "use --format nifti", segments=segments, kind=kind)


def series_headers(files: Sequence[Path]) -> list[Any]:
    """Return the data sets of slices without pixels."""
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    return [dcmread(file, stop_before_pixels=True) for file in files]


def _frames(stored: NDArray[Any], table: ClassTable) -> NDArray[Any]:
    """Return slices x rows x columns of columns x rows x slices, background if there is no class."""
    frames = np.ascontiguousarray(stored.transpose(2, 1, 0))
    frames[frames == table.nodata] = 0
    return frames
