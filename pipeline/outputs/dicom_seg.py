"""``classes.seg.dcm``: the class codes as a DICOM Segmentation that refers to the slices of its series.

A label map (Supplement 243): one frame per slice, its values the class codes. Value 0 is the background of
such a map, so class 0 of the model and voxels without a class have no segment of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, OutputError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.outputs.nifti_mask import stored_classes
from segment_tiles.pipeline.outputs.store import read_class_table
from segment_tiles.pipeline.outputs.volume_store import read_geometry
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series

VOXELS_AT_MOST: Final = 2**30
"""Voxels of a mask that is written as DICOM SEG: highdicom needs all of it in memory, several times."""
MANUFACTURER: Final = "segment-tiles"


def write_dicom_seg(group: zarr.Group, path: Path, source: str, *, model: str, version: str) -> None:
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

    Raises
    ------
    MissingExtraError
        Where highdicom is not installed.
    OutputError
        Where the series has changed, lacks what such an object must say, or is too large.
    WriteFailedError
        Where the disk is full or read-only.
    """
    hd = _highdicom()
    geometry = read_geometry(group)
    check_voxels(geometry.spec.voxels)
    series = open_series(Path(source))
    if series.spec.shape != geometry.source_shape or not geometry.is_whole:
        msg = (
            f"{source}: has {series.spec.shape} voxels, the class map {geometry.shape}; they must be the same"
        )
        raise OutputError(msg)
    table = read_class_table(group)
    frames = _frames(stored_classes(group, geometry), table)
    try:
        segmentation = _segmentation(hd, _headers(series.files), frames, table, model=model, version=version)
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        msg = f"{source}: DICOM SEG cannot refer to this series ({one_line(error)}); use --format nifti"
        raise OutputError(msg) from error
    with finished_file(path) as partial:
        segmentation.save_as(partial)


def check_voxels(voxels: int) -> None:
    """Refuse a mask that is too large to be made in memory.

    Raises
    ------
    OutputError
        Where it is.
    """
    if voxels > VOXELS_AT_MOST:
        msg = (
            f"--format dicom-seg: the mask has {voxels:,} voxels, and DICOM SEG is made in memory; up to "
            f"{VOXELS_AT_MOST:,} are accepted: use --format nifti"
        )
        raise OutputError(msg)


def _highdicom() -> Any:
    try:
        import highdicom  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = "DICOM SEG needs the extra dicom: pip install 'segment-tiles[dicom]'"
        raise MissingExtraError(msg) from error
    return highdicom


def _headers(files: Sequence[Path]) -> list[Any]:
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    return [dcmread(file, stop_before_pixels=True) for file in files]


def _frames(stored: NDArray[Any], table: ClassTable) -> NDArray[Any]:
    """Return slices x rows x columns of columns x rows x slices, background where there is no class."""
    frames = np.ascontiguousarray(stored.transpose(2, 1, 0))
    frames[frames == table.nodata] = 0
    return frames


def _segmentation(
    hd: Any, headers: Sequence[Any], frames: NDArray[Any], table: ClassTable, *, model: str, version: str
) -> Any:
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - an extra
    from pydicom.uid import RLELossless, generate_uid  # noqa: PLC0415 - an extra

    algorithm = hd.AlgorithmIdentificationSequence(
        name=model, version=version, family=codes.DCM.ArtificialIntelligence
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=entry.code,
            segment_label=entry.name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for entry in table.classes[1:]
    ]
    # the same map of the same series gets the same identifiers
    entropy = [str(headers[0].SeriesInstanceUID), model, version, sha256(frames.tobytes()).hexdigest()]
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.LABELMAP,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
        series_number=1000 + int(headers[0].get("SeriesNumber") or 0) % 1000,
        sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "instance"]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=version,
        device_serial_number="1",
        series_description=f"{model}: research use, not for diagnosis"[:64],
        transfer_syntax_uid=RLELossless,
        omit_empty_frames=False,
    )
