"""Class maps beside or inside the microscope image that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.masks.ome_tiff_mask import write_ome_tiff
from segment_tiles.pipeline.outputs.masks.ome_zarr_labels import (
    check_labels_inside,
    write_labels_inside,
    write_ome_zarr_labels,
)
from segment_tiles.workflows.results.finished_report import is_there
from segment_tiles.workflows.results.formats.format import Format, FormatOptions, Subject, Work


def check_without_crs(name: str, subject: Subject) -> None:
    """Refuse a raster with a CRS for a format that holds micrometres or pixels.

    Raises
    ------
    UsageError
        Naming the format and the source.
    """
    if subject.georef.crs_wkt is not None:
        msg = f"--format names {name}, which cannot hold the CRS of {shown_name(subject.source)}; use cog"
        raise UsageError(msg)


def _check_ome_tiff(subject: Subject) -> None:
    check_without_crs(OME_TIFF.name, subject)


def _check_ome_zarr(subject: Subject) -> None:
    check_without_crs(OME_ZARR.name, subject)
    if subject.options.labels_inside:
        rows, columns = subject.shape
        check_labels_inside(Path(subject.source), (rows, columns), subject.levels)


def _make_ome_tiff(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    work.stage(OME_TIFF.file)
    write_ome_tiff(work.group, work.folder / OME_TIFF.file, source_levels=work.subject.levels)
    return ()


def _make_ome_zarr(work: Work, _formats: Sequence[Format]) -> Sequence[str]:
    """Write the labels; inside the source, a link to them stands in the output directory."""
    work.stage(OME_ZARR.file)
    subject, target = work.subject, work.folder / OME_ZARR.file
    if not subject.options.labels_inside:
        if target.is_symlink():
            target.unlink()
        write_ome_zarr_labels(
            work.group, target, source_levels=subject.levels, pixel_counts=work.pixel_counts
        )
        return ()
    written = write_labels_inside(
        work.group,
        Path(subject.source).absolute(),
        subject.model,
        source_levels=subject.levels,
        pixel_counts=work.pixel_counts,
    )
    try:
        remove(target)  # labels of an earlier export beside the other results, or an older link
        target.symlink_to(written, target_is_directory=True)
    except OSError as error:
        raise write_failed(target, error) from error
    return ()


def _is_made(folder: Path, options: FormatOptions) -> bool:
    """Return whether the labels are there, and inside the source if they are to be inside."""
    target = folder / OME_ZARR.file
    return is_there(target) and (target.is_symlink() or not options.labels_inside)


OME_TIFF: Final = Format(
    "ome-tiff",
    "classes.ome.tif",
    ("raster", "slide"),
    _make_ome_tiff,
    title="Class map as a pyramidal OME-TIFF",
    media_type="image/tiff; application=ome",
    key="classes-ome-tiff",
    check=_check_ome_tiff,
    module="tifffile",
    requirement="segment-tiles[slides]",
)
OME_ZARR: Final = Format(
    "ome-zarr",
    "classes.ome.zarr",
    ("raster", "slide"),
    _make_ome_zarr,
    title="Class map as OME-Zarr labels",
    media_type="application/vnd.zarr; version=3",
    key="classes-ome-zarr",
    check=_check_ome_zarr,
    is_made=_is_made,
)
