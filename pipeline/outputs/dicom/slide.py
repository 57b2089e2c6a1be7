"""``classes.seg.dcm`` of a DICOM slide: a tiled map that refers to the Level that was read.

::

    slide   level 0 |----------------|        the map is one matrix of pixels on the whole slide, cut into
            level 1 |--------|                tiles in reading order (TILED_FULL); its origin is that of the
    map             |-----|  at any size      slide, its pixels are as many times larger as they are fewer

A map of the size of a Level has the spacing of that Level as its file says it; another one the spacing of
full resolution times the step. Both follow the DICOM files, not ``--source-mpp``: only so the map lies on
its slide (decision 0044).
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
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.dicom.references import completed
from segment_tiles.pipeline.outputs.dicom.segmentation import (
    check_size,
    refusing_bad_references,
    require_highdicom,
    segmentation,
)
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.stores.store import SHARD_ROWS, array_of, read_class_table, read_georef
from segment_tiles.pipeline.sources.pyramids.dicom_slide import DicomLevel, dicom_levels
from segment_tiles.pipeline.sources.pyramids.pyramid import SAME_SIZE, downsample


def write_slide_seg(
    group: zarr.Group, path: Path, source: str, *, model: str, version: str, kind: DicomSegKind = "binary"
) -> None:
    """Write the class codes of a slide as one DICOM SEG object.

    Parameters
    ----------
    group
        Finished store of a run on a whole DICOM slide.
    path
        The file.
    source
        A file of the slide: patient, study, specimen and frame of reference are taken over from it.
    model, version
        Name of the model that made the map, and the version of this program.
    kind
        How the segments are stored.

    Raises
    ------
    MissingExtraError
        If highdicom is not installed.
    OutputError
        If the map is not of the whole slide, is too large, or the slide lacks what such an object must say.
    SourceError
        If the files of the slide cannot be read.
    WriteFailedError
        If the disk is full or read-only.
    """
    array, georef = array_of(group, "classes"), read_georef(group)
    rows, columns = array.shape
    table = read_class_table(group)
    check_slide_pixels(rows * columns, table.count - 1, kind)
    require_highdicom()
    levels = dicom_levels(Path(source))
    step = _step_of_whole(georef, (rows, columns), levels[0].shape, source)
    level = _level_read(levels, step)
    with refusing_bad_references(source, "slide", "ome-tiff"):
        made = segmentation(
            [completed(level.header())],
            _matrix(array, table.nodata)[np.newaxis],
            table,
            kind=kind,
            model=model,
            version=version,
            tile_pixel_array=True,
            dimension_organization_type="TILED_FULL",
            pixel_measures=None if level.shape == (rows, columns) else _measures(levels[0].header(), step),
        )
    with finished_file(path) as partial:
        made.save_as(partial)


def check_slide_pixels(pixels: int, segments: int = 1, kind: DicomSegKind = "binary") -> None:
    """Refuse a mask that is too large to be made in memory, or for the format.

    Raises
    ------
    OutputError
        If it is.
    """
    instead = "use --format ome-tiff, or a coarser --mpp or --level"
    check_size(pixels, "pixels", instead, segments=segments, kind=kind)


def _step_of_whole(
    georef: GeoRef, shape: tuple[int, int], full: tuple[int, int], source: str
) -> tuple[float, float]:
    """Return `step_on_slide` of a map of the whole slide; refuse another."""
    step = step_on_slide(georef, shape, full)
    if step is None:
        msg = (
            f"{source}: has {full} pixels, of which the class map of {shape} is only a part; DICOM SEG covers whole "
            "slides: run without --roi, or use --format ome-tiff"
        )
        raise OutputError(msg)
    return step


def step_on_slide(
    georef: GeoRef, shape: tuple[int, int], full: tuple[int, int]
) -> tuple[float, float] | None:
    """Return full-resolution pixels in a pixel of the map, down and across; None if it is not of the whole slide.

    Parameters
    ----------
    georef
        Of the map.
    shape, full
        Rows and columns of the map, and of the slide at full resolution.

    >>> georef = GeoRef((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None, "micrometer", (0.25, 0.0, 0.0, 0.0, 0.25, 0.0))
    >>> step_on_slide(georef, (100, 50), (401, 200)), step_on_slide(georef, (90, 50), (401, 200))
    ((4.0, 4.0), None)
    """
    a, _, x, _, e, y = georef.transform
    full_a, _, full_x, _, full_e, full_y = georef.full_resolution or georef.transform
    step = e / full_e, a / full_a
    is_whole = (x, y) == (full_x, full_y) and all(
        abs(count * size - whole) <= size for count, size, whole in zip(shape, step, full, strict=True)
    )
    return step if is_whole else None


def _level_read(levels: Sequence[DicomLevel], step: tuple[float, float]) -> DicomLevel:
    """Return the coarsest Level whose pixels are no larger than those of the map: the one it was made from."""
    full = levels[0].shape
    fine = [level for level in levels if max(downsample(full, level.shape)) <= min(step) * (1 + SAME_SIZE)]
    return fine[-1] if fine else levels[0]


def _measures(full: Any, step: tuple[float, float]) -> Any:
    """Return the pixel measures of the map, from the data set of full resolution."""
    from highdicom import PixelMeasuresSequence  # noqa: PLC0415 - an extra

    own = full.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    down, across = (float(size) * count for size, count in zip(own.PixelSpacing, step, strict=True))
    return PixelMeasuresSequence(pixel_spacing=(down, across), slice_thickness=own.SliceThickness)


def _matrix(array: zarr.Array[Any], nodata: int) -> NDArray[Any]:
    """Return all codes, rows x columns, background if there is no class; no more than a strip is held twice."""
    codes = np.empty(array.shape, dtype=array.dtype)
    for row in range(0, codes.shape[0], SHARD_ROWS):
        strip = codes[row : row + SHARD_ROWS]
        strip[:] = array[row : row + SHARD_ROWS]
        strip[strip == nodata] = 0
    return codes
