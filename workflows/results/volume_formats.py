"""Which formats a kind of source can have, and what is made unless the user says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.dicom.references import check_references
from segment_tiles.pipeline.outputs.dicom.series import check_voxels, series_headers
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series
from segment_tiles.pipeline.sources.volumes.volume import volume_kind
from segment_tiles.workflows.config import DEFAULT_FORMATS
from segment_tiles.workflows.scenes.volume_scene import VolumeScene

FILE_OF_VOLUME_FORMAT: Final[Mapping[str, str]] = {
    "zarr": "classes.zarr",
    "nifti": "classes.nii.gz",
    "dicom-seg": "classes.seg.dcm",
}
"""Name of each format in the output directory of a volume."""
ONLY_OF_VOLUMES: Final = ("nifti",)
"""What nothing else can have; DICOM SEG slides have too."""
DEFAULT_VOLUME_FORMATS: Final = ("zarr", "nifti")


def suitable_formats(formats: tuple[str, ...], uri: str, volume: VolumeScene | None) -> tuple[str, ...]:
    """Return the formats of a run: as asked, or what suits the source.

    Raises
    ------
    UsageError
        Where one cannot be made of such a source.
    """
    if volume is None:
        wrong = [name for name in formats if name in ONLY_OF_VOLUMES]
        if wrong:
            msg = f"--format names {wrong[0]}, but {uri} is no volume (NIfTI, NRRD, DICOM series)"
            raise UsageError(msg)
        return formats or DEFAULT_FORMATS
    wrong = [name for name in formats if name not in FILE_OF_VOLUME_FORMAT]
    if wrong:
        msg = (
            f"--format names {wrong[0]}, but {uri} is a volume; choose of {', '.join(FILE_OF_VOLUME_FORMAT)}"
        )
        raise UsageError(msg)
    return formats or DEFAULT_VOLUME_FORMATS


def check_volume_seg(
    uri: str, volume: VolumeScene, table: ClassTable, *, model: str, kind: DicomSegKind
) -> None:
    """Refuse DICOM SEG for a volume that it cannot refer to, or cannot hold, before anything is computed.

    Raises
    ------
    UsageError
        If the source is no whole series of slices.
    OutputError
        If the map is too large, or the slices lack what such an object must say.
    MissingExtraError
        If highdicom is not installed.
    """
    if volume_kind(uri) != "dicom":
        msg = f"--format names dicom-seg, which refers to the slices of a DICOM series, but {uri} is none; use nifti"
        raise UsageError(msg)
    series = open_series(Path(uri))
    if series.is_enhanced:
        msg = f"--format dicom-seg needs a file per slice, but {uri} is an enhanced file of frames; use nifti"
        raise UsageError(msg)
    if volume.box != volume.spec.shape:
        msg = "--format dicom-seg covers whole slices of a series; leave --roi out, or use --format nifti"
        raise UsageError(msg)
    check_voxels(volume.spec.voxels, table.count - 1, kind)
    headers = series_headers(series.files)
    check_references(headers, uri, table, kind=kind, model=model, is_slide=False)
