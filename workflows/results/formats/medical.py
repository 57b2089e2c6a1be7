"""Class maps that medical viewers open: NIfTI beside a volume, DICOM SEG that refers to a slide or a series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.dicom.references import check_references
from segment_tiles.pipeline.outputs.dicom.series import check_voxels, series_headers, write_dicom_seg
from segment_tiles.pipeline.outputs.dicom.slide import check_slide_pixels, write_slide_seg
from segment_tiles.pipeline.outputs.masks.nifti_mask import write_nifti
from segment_tiles.pipeline.sources.pyramids.dicom_slide import dicom_levels, is_dicom_slide
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series
from segment_tiles.pipeline.sources.volumes.volume import is_slice_series
from segment_tiles.workflows.results.formats.format import Format, Subject, Work
from segment_tiles.workflows.results.formats.ome import check_without_crs


def _make_nifti(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(NIFTI.file)
    write_nifti(work.group, work.folder / NIFTI.file)
    return ()


@dataclass(frozen=True, slots=True)
class _Referred:
    """What a DICOM SEG refers to."""

    check: Callable[[Subject], None]
    write: Callable[..., None]
    """Of the pipeline."""


def _check_slide(subject: Subject) -> None:
    check_without_crs(DICOM_SEG.name, subject)
    source, options = subject.source, subject.options
    if not is_dicom_slide(source):
        msg = (
            f"--format names dicom-seg, which refers to DICOM images, but {shown_name(source)} is no DICOM slide or "
            "series; use ome-tiff or ome-zarr"
        )
        raise UsageError(msg)
    check_slide_pixels(prod(subject.shape), subject.table.count - 1, options.dicom_seg)
    headers = (level.header() for level in dicom_levels(Path(source)))
    check_references(
        headers, source, subject.table, kind=options.dicom_seg, model=subject.model, is_slide=True
    )
    if not subject.is_whole:
        msg = "--format dicom-seg covers whole slides; leave --roi out, or use --format ome-tiff"
        raise UsageError(msg)


def _check_series(subject: Subject) -> None:
    source, options = subject.source, subject.options
    if not is_slice_series(source):
        msg = f"--format names dicom-seg, which refers to the slices of a DICOM series, but {source} is none; use nifti"
        raise UsageError(msg)
    series = open_series(Path(source))
    if series.is_enhanced:
        msg = f"--format dicom-seg needs a file per slice, but {source} is an enhanced file of frames; use nifti"
        raise UsageError(msg)
    if not subject.is_whole:
        msg = "--format dicom-seg covers whole slices of a series; leave --roi out, or use --format nifti"
        raise UsageError(msg)
    check_voxels(prod(subject.shape), subject.table.count - 1, options.dicom_seg)
    headers = series_headers(series.files)
    check_references(
        headers, source, subject.table, kind=options.dicom_seg, model=subject.model, is_slide=False
    )


_SLIDE: Final = _Referred(_check_slide, write_slide_seg)
_REFERRED: Final[Mapping[str, _Referred]] = {
    "raster": _SLIDE,  # its check says what is missing
    "slide": _SLIDE,
    "volume": _Referred(_check_series, write_dicom_seg),
}


def _check_dicom_seg(subject: Subject) -> None:
    if not subject.table.is_dense:
        codes = ", ".join(map(str, subject.table.codes))
        msg = (
            f"--format dicom-seg counts segments 1, 2, 3, ..., but the classes have the codes {codes}; give them the "
            f"codes 0 to {subject.table.count - 1} in the file of --reclass"
        )
        raise UsageError(msg)
    _REFERRED[subject.kind].check(subject)


def _make_dicom_seg(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(DICOM_SEG.file)
    subject = work.subject
    settings: dict[str, Any] = {"model": subject.model, "version": work.report["version"]}
    _REFERRED[subject.kind].write(
        work.group,
        work.folder / DICOM_SEG.file,
        subject.source,
        **settings,
        kind=subject.options.dicom_seg,
    )
    return ()


NIFTI: Final = Format(
    "nifti",
    "classes.nii.gz",
    ("volume",),
    _make_nifti,
    title="Class map as a NIfTI mask",
    media_type="application/gzip",
    module="nibabel",
    requirement="segment-tiles[medical]",
)
DICOM_SEG: Final = Format(
    "dicom-seg",
    "classes.seg.dcm",
    tuple(_REFERRED),
    _make_dicom_seg,
    title="Class map as a DICOM Segmentation",
    media_type="application/dicom",
    check=_check_dicom_seg,
    module="highdicom",
    requirement="segment-tiles[dicom]",
)
