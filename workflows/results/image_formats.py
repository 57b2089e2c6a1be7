"""Formats of bio-imaging: class maps beside or inside the image that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import zarr

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.dicom.references import check_references
from segment_tiles.pipeline.outputs.dicom.slide import check_slide_pixels, write_slide_seg
from segment_tiles.pipeline.outputs.masks.ome_tiff_mask import write_ome_tiff
from segment_tiles.pipeline.outputs.masks.ome_zarr_labels import (
    check_labels_inside,
    write_labels_inside,
    write_ome_zarr_labels,
)
from segment_tiles.pipeline.sources.pyramids.dicom_slide import dicom_levels, is_dicom_slide
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.results.volume_formats import check_volume_seg
from segment_tiles.workflows.scenes.scene import Scene

FILE_OF_IMAGE_FORMAT: Final[Mapping[str, str]] = {
    "ome-zarr": "classes.ome.zarr",
    "ome-tiff": "classes.ome.tif",
    "dicom-seg": "classes.seg.dcm",
}
"""Name of each format in the output directory."""
DEFAULT_IMAGE_FORMATS: Final = ("zarr", "ome-zarr", "qupath")
"""Of sources measured in micrometres, unless told."""


def default_image_formats(scene: Scene) -> tuple[str, ...]:
    """Return what is made of a slide unless the user says; empty for other sources."""
    return DEFAULT_IMAGE_FORMATS if scene.georef.unit == "micrometer" else ()


def check_image_formats(config: RunConfig, scene: Scene) -> None:
    """Refuse formats of bio-imaging for what cannot have them, before anything is computed.

    Raises
    ------
    UsageError
        Naming the format and the source.
    """
    formats = config.formats or default_image_formats(scene)
    check_place(formats, scene.georef, scene.uri)
    if "dicom-seg" in formats:
        check_dicom_seg(config, scene)
    if config.labels_inside:
        if "ome-zarr" not in formats:
            msg = "--labels-inside says where ome-zarr labels go; add ome-zarr to --format"
            raise UsageError(msg)
        check_labels_inside(Path(scene.uri), scene.roi.shape, scene.spec.levels)


def check_dicom_seg(config: RunConfig, scene: Scene) -> None:
    """Refuse DICOM SEG for what it cannot refer to, or cannot hold.

    Raises
    ------
    UsageError, OutputError, MissingExtraError
        As `check_slide_seg` and `check_volume_seg`; if only a part of a slide is asked for.
    """
    table, model = scene.manifest.classes, scene.manifest.name
    if scene.volume is not None:
        check_volume_seg(scene.uri, scene.volume, table, model=model, kind=config.dicom_seg)
        return
    check_slide_seg(scene.uri, scene.roi.area, table, model=model, kind=config.dicom_seg)
    if scene.roi != scene.spec.window:
        msg = "--format dicom-seg covers whole slides; leave --roi out, or use --format ome-tiff"
        raise UsageError(msg)


def check_place(formats: Sequence[str], georef: GeoRef, uri: str) -> None:
    """Refuse formats that hold micrometres or pixels for a raster with a CRS.

    Raises
    ------
    UsageError
        Naming the format and the source.
    """
    asked = [name for name in formats if name in FILE_OF_IMAGE_FORMAT]
    if asked and georef.crs_wkt is not None:
        msg = f"--format names {asked[0]}, which has no place for the CRS of {uri}; use cog"
        raise UsageError(msg)


def check_slide_seg(uri: str, pixels: int, table: ClassTable, *, model: str, kind: DicomSegKind) -> None:
    """Refuse DICOM SEG for a raster that it cannot refer to, or cannot hold.

    Raises
    ------
    UsageError
        If the source is no DICOM slide.
    OutputError
        If the map has too many pixels, or the slide lacks what such an object must say.
    MissingExtraError
        If highdicom is not installed.
    """
    if not is_dicom_slide(uri):
        msg = (
            f"--format names dicom-seg, which refers to DICOM images, but {uri} is no DICOM slide or series; "
            "use ome-tiff or ome-zarr"
        )
        raise UsageError(msg)
    check_slide_pixels(pixels, table.count - 1, kind)
    headers = (level.header() for level in dicom_levels(Path(uri)))
    check_references(headers, uri, table, kind=kind, model=model, is_slide=True)


def make_image_formats(
    folder: Path,
    group: zarr.Group,
    formats: Sequence[str],
    report: Mapping[str, Any],
    stage: Callable[[str], None],
    *,
    labels_inside: bool = False,
    dicom_seg: DicomSegKind = "binary",
) -> None:
    """Make these formats from a finished store.

    Parameters
    ----------
    folder
        Output directory.
    group
        The store, with overviews.
    formats
        Those of other kinds are passed over.
    report
        Of the run: source, counts per class, name of the model.
    stage
        Told of each file.
    labels_inside
        Put the labels into the source; a link to them stands in the output directory.
    dicom_seg
        How the segments of DICOM SEG are stored.
    """
    levels = [(rows, columns) for rows, columns in report["source"].get("levels", [])]
    counts = [entry["pixels"] for entry in report["classes"]]
    if "ome-tiff" in formats:
        stage(FILE_OF_IMAGE_FORMAT["ome-tiff"])
        write_ome_tiff(group, folder / FILE_OF_IMAGE_FORMAT["ome-tiff"], source_levels=levels)
    if "dicom-seg" in formats:
        stage(FILE_OF_IMAGE_FORMAT["dicom-seg"])
        write_slide_seg(
            group,
            folder / FILE_OF_IMAGE_FORMAT["dicom-seg"],
            report["source"]["uri"],
            model=report["model"]["name"],
            version=report["version"],
            kind=dicom_seg,
        )
    if "ome-zarr" not in formats:
        return
    stage(FILE_OF_IMAGE_FORMAT["ome-zarr"])
    target = folder / FILE_OF_IMAGE_FORMAT["ome-zarr"]
    if target.is_symlink():
        target.unlink()
    if not labels_inside:
        write_ome_zarr_labels(group, target, source_levels=levels, pixel_counts=counts)
        return
    source = Path(report["source"]["uri"]).absolute()
    written = write_labels_inside(
        group, source, report["model"]["name"], source_levels=levels, pixel_counts=counts
    )
    target.symlink_to(written, target_is_directory=True)
