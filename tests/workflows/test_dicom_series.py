"""DICOM series through a run: order and checks of slices, DICOM SEG read again, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import nibabel.testing
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.outputs.dicom_labelmap import PIXELS_AT_MOST
from segment_tiles.pipeline.outputs.dicom_seg import check_voxels
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume

Call = Callable[..., Any]
NIBABEL = Path(str(nibabel.testing.data_path))


def test_dicom_seg_read_again_is_the_mask(
    grey_model: Path, write_series: Call, run_on: Call, scan: Call, tmp_path: Path
) -> None:
    affine = np.diag([0.8, -0.9, 2.0, 1.0])
    affine[:3, 3] = [10, 20, -30]
    series = write_series(tmp_path / "series", scan(), affine)
    run_on(series, grey_model, tmp_path / "out", formats=("zarr", "nifti", "dicom-seg"))
    segmentation = highdicom.seg.segread(tmp_path / "out" / "classes.seg.dcm")
    assert segmentation.SegmentationType == "LABELMAP"
    assert segmentation.segment_numbers == [1, 2] or list(segmentation.segment_numbers) == [1, 2]
    sources = [pydicom.dcmread(file) for file in open_series(series).files]
    assert segmentation.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    frames = segmentation.get_pixels_by_source_instance(
        [dataset.SOPInstanceUID for dataset in sources], combine_segments=True
    )
    mask = nibabel.load(tmp_path / "out" / "classes.nii.gz")
    np.testing.assert_array_equal(frames.transpose(2, 1, 0), np.asarray(mask.dataobj))
    assert len(np.unique(frames)) == 3
    shutil.copytree(tmp_path / "out", tmp_path / "again")
    (tmp_path / "again" / "classes.seg.dcm").unlink()
    assert run_command_line(["export", str(tmp_path / "again"), "--format", "dicom-seg"]) == 0
    again = pydicom.dcmread(tmp_path / "again" / "classes.seg.dcm")
    assert again.SOPInstanceUID == segmentation.SOPInstanceUID, "the same map has the same identifier"


def test_a_mask_too_large_for_dicom_seg_is_refused() -> None:
    check_voxels(PIXELS_AT_MOST)
    with pytest.raises(SegmentTilesError, match="use --format nifti"):
        check_voxels(PIXELS_AT_MOST + 1)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_pydicoms_own_slices_are_read_in_their_scale(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    spec, dataset = open_series(path).spec, pydicom.dcmread(path)
    assert spec.shape == (dataset.Columns, dataset.Rows, 1)
    values = read_volume(str(path), Selection())
    slope, offset = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    np.testing.assert_allclose(values[0, :, :, 0].T, dataset.pixel_array * slope + offset)


def test_the_affine_of_a_series_is_monais(write_series: Call, scan: Call, tmp_path: Path) -> None:
    from monai.data.image_reader import PydicomReader  # noqa: PLC0415

    affine = nibabel.load(NIBABEL / "example4d.nii.gz").affine
    series = write_series(tmp_path / "series", scan((8, 9, 4)), affine)
    reader = PydicomReader()
    data = reader.read([str(file) for file in open_series(series).files])
    for number, dataset in enumerate(data, 1):
        dataset.InstanceNumber = number
    reader.has_series, reader.filenames = True, [[str(file) for file in open_series(series).files]]
    _, metadata = reader.get_data(data)
    np.testing.assert_allclose(np.array(open_series(series).spec.affine), metadata["affine"], atol=1e-4)


def test_series_that_are_not_whole_are_refused(
    write_series: Call, grey_model: Path, scan: Call, refused: Call, tmp_path: Path
) -> None:
    good = write_series(tmp_path / "good", scan((12, 10, 7)), np.diag([1.0, 1.0, 2.0, 1.0]))

    def broken(name: str) -> Path:
        return Path(shutil.copytree(good, tmp_path / name))

    missing = broken("missing")
    (missing / "0003.dcm").unlink()
    double = broken("double")
    shutil.copy(double / "0003.dcm", double / "copy.dcm")
    mixed, other = broken("mixed"), pydicom.dcmread(good / "0003.dcm")
    other.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    other.save_as(mixed / "0003.dcm")
    tilted = broken("tilted")
    for number in range(1, 8):
        dataset = pydicom.dcmread(tilted / f"{number:04d}.dcm")
        position = [float(v) for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [position[0] + 0.2 * number, *position[1:]]
        dataset.save_as(tilted / f"{number:04d}.dcm")
    two = broken("two")
    dataset = pydicom.dcmread(two / "0001.dcm")
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["another"])
    dataset.save_as(two / "0001.dcm")
    wide = broken("wide")
    dataset = pydicom.dcmread(wide / "0002.dcm")
    dataset.PixelSpacing = [1.5, 1.0]
    dataset.save_as(wide / "0002.dcm")
    for folder, words in (
        (missing, ("4 mm, elsewhere 2 mm: 1 missing",)),
        (double, ("lie at the same position", "copy.dcm")),
        (mixed, ("0003.dcm: is oriented", "one orientation")),
        (tilted, ("tilted gantry", "5.7 degrees")),
        (two, ("holds 2 series",)),
        (wide, ("0002.dcm", "one shape")),
    ):
        refused(["run", str(folder), "--model", str(grey_model), "--out", str(tmp_path / "out")], *words)
    colours = str(get_testdata_file("examples_rgb_color.dcm", download=False))
    refused(["info", colours], "holds colours (3 values per pixel)")
