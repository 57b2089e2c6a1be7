"""DICOM series through a run: order and checks of slices, DICOM SEG read again, what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import nibabel.testing
import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.data import get_testdata_file

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.outputs.dicom.references import TYPE_2, check_references, completed
from segment_tiles.pipeline.outputs.dicom.segmentation import PIXELS_AT_MOST, segmentation
from segment_tiles.pipeline.outputs.dicom.series import check_voxels, series_headers
from segment_tiles.pipeline.sources.volumes.dicom_series import open_series
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment

Call = Callable[..., Any]
NIBABEL = Path(str(nibabel.testing.data_path))


@pytest.fixture(scope="module")
def segmented(
    grey_model: Path, write_series: Call, scan: Call, quiet: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a series, its result, and a DICOM SEG of bits."""
    folder = tmp_path_factory.mktemp("segmented")
    affine = np.diag([0.8, -0.9, 2.0, 1.0])
    affine[:3, 3] = [10, 20, -30]
    series = write_series(folder / "series", scan(), affine)
    settings: dict[str, Any] = {
        "precision": "fp32",
        "device": "cpu",
        "formats": ("zarr", "nifti", "dicom-seg"),
    }
    segment(RunConfig(str(series), str(grey_model), folder / "out", **settings), quiet)
    return folder


def _mask(folder: Path) -> Any:
    """The codes as NIfTI has them, in the order of DICOM: slices x rows x columns."""
    return np.asarray(nibabel.load(folder / "out" / "classes.nii.gz").dataobj).transpose(2, 1, 0)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_dicom_seg_read_again_is_the_mask(segmented: Path, kind: str) -> None:
    file = segmented / "out" / "classes.seg.dcm"
    assert pydicom.dcmread(file).SegmentationType == "BINARY" or kind == "labelmap"
    command = ["export", str(segmented / "out"), "--format", "dicom-seg", "--dicom-seg", kind]
    before = pydicom.dcmread(file).SOPInstanceUID
    assert run_command_line(command) == 0
    made = highdicom.seg.segread(file)
    assert made.SegmentationType == kind.upper()
    assert list(made.segment_numbers) == [1, 2]
    sources = [pydicom.dcmread(path) for path in open_series(segmented / "series").files]
    assert made.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    frames = made.get_pixels_by_source_instance(
        [dataset.SOPInstanceUID for dataset in sources], combine_segments=True, ignore_spatial_locations=True
    )
    np.testing.assert_array_equal(frames, _mask(segmented))
    assert len(np.unique(frames)) == 3
    if kind == "binary":
        assert made.SOPInstanceUID == before, "the same map has the same identifier"


def test_pydicom_and_simpleitk_read_the_bits_pixel_for_pixel(segmented: Path) -> None:
    import SimpleITK  # noqa: PLC0415

    file = segmented / "out" / "classes.seg.dcm"
    assert run_command_line(["export", str(segmented / "out"), "--format", "dicom-seg"]) == 0
    made, mask = pydicom.dcmread(file), _mask(segmented)
    assert (made.SOPClassUID.name, made.BitsAllocated) == ("Segmentation Storage", 1)
    positions = [
        float(pydicom.dcmread(path).ImagePositionPatient[2])
        for path in open_series(segmented / "series").files
    ]
    readers = [made.pixel_array, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))]
    for frames in readers:
        found = np.zeros_like(mask)
        assert frames.shape[1:] == mask.shape[1:]
        for frame, groups in zip(frames, made.PerFrameFunctionalGroupsSequence, strict=True):
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            position = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
            found[positions.index(pytest.approx(position, abs=1e-3))][frame != 0] = number
        np.testing.assert_array_equal(found, mask)


def _anonymised(series: Path, target: Path, *gone: str, **changed: Any) -> Path:
    """Copy a series without some attributes, and with others changed as they stand in the file."""
    target.mkdir()
    for file in series.iterdir():
        dataset = pydicom.dcmread(file)
        for keyword in gone:
            delattr(dataset, keyword)
        for keyword, value in changed.items():
            if keyword in dataset:
                dataset[keyword]._value = value  # past pydicom's own check
            else:
                setattr(dataset, keyword, value)
        with config.disable_value_validation():
            dataset.save_as(target / file.name)
    return target


@pytest.mark.parametrize(
    ("gone", "changed"),
    [
        (TYPE_2, {}),
        ((), {"SpecificCharacterSet": ""}),
        ((), {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}),
        (
            (*TYPE_2, "PositionReferenceIndicator", "SeriesNumber", "InstanceNumber"),
            {"SpecificCharacterSet": ""},
        ),
    ],
)
def test_dicom_seg_of_anonymised_series_is_made(
    segmented: Path,
    run_on: Call,
    grey_model: Path,
    tmp_path: Path,
    gone: tuple[str, ...],
    changed: dict[str, Any],
) -> None:
    series = _anonymised(segmented / "series", tmp_path / "series", *gone, **changed)
    run_on(series, grey_model, tmp_path / "out", formats=("zarr", "dicom-seg"))
    made = highdicom.seg.segread(tmp_path / "out" / "classes.seg.dcm")
    assert all(keyword in made for keyword in TYPE_2)
    assert made.PatientName == ("" if "PatientName" in gone else "Nobody^At All")


@pytest.mark.filterwarnings("ignore")
def test_readers_and_writers_of_dicom_say_nothing_of_their_own(
    segmented: Path, grey_model: Path, tmp_path: Path
) -> None:
    """In a process of its own, for pytest takes warnings before they reach the terminal."""
    series = _anonymised(
        segmented / "series", tmp_path / "series", "ReferringPhysicianName",
        PatientID="x" * 70, StudyTime="25",
    )  # fmt: skip
    words = ["run", str(series), "--model", str(grey_model), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", "from segment_tiles.cli.main import main; main()", *words, "--quiet",
         "--precision", "fp32", "--device", "cpu", "--format", "zarr,dicom-seg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert all(line.startswith("segment-tiles: ") for line in done.stderr.splitlines()), done.stderr
    assert "StudyTime '25'" in done.stderr, "that DICOM SEG cannot be made is told in our words"


def test_what_cannot_be_filled_is_named_at_once_before_anything_is_computed(
    segmented: Path, grey_model: Path, refused: Call, tmp_path: Path
) -> None:
    series = _anonymised(
        segmented / "series", tmp_path / "series", "FrameOfReferenceUID", "PatientID",
        PatientSex="X", StudyDate="removed",
    )  # fmt: skip
    words = ("no FrameOfReferenceUID", "PatientSex 'X'", "StudyDate 'removed'", "use --format nifti")
    asked = [str(series), "--model", str(grey_model), "--format", "zarr,dicom-seg"]
    refused(["plan", *asked], *words)
    refused(["run", *asked, "--out", str(tmp_path / "out")], *words)
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text(
        f"results: {tmp_path / 'maps'}\nrun:\n  model: {grey_model}\n  format: [zarr, dicom-seg]\n"
        f"jobs:\n  - source: {series}\n"
    )
    # other jobs of a batch go on: the table names what is wrong with this one
    assert run_command_line(["batch", str(jobs), "--dry-run"]) != 0
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "maps").exists() or not list((tmp_path / "maps").rglob("report.json"))


def test_an_identifier_missing_in_one_file_of_many_is_found(
    segmented: Path, grey_model: Path, refused: Call, tmp_path: Path
) -> None:
    series = _anonymised(segmented / "series", tmp_path / "series")
    dataset = pydicom.dcmread(series / "0004.dcm")
    del dataset.StudyInstanceUID
    dataset.save_as(series / "0004.dcm")
    refused(["plan", str(series), "--model", str(grey_model), "--format", "dicom-seg"], "no StudyInstanceUID")


def test_names_of_classes_are_legal_in_dicom(segmented: Path, tmp_path: Path) -> None:
    names = ("background", 'a, "b" [c]', "Leber \u809d\\x\n", "z" * 80)
    table = ClassTable(tuple(MapClass(code, name, (code, 0, 0)) for code, name in enumerate(names)))
    headers = [completed(header) for header in series_headers(open_series(segmented / "series").files)]
    frames = np.arange(len(headers) * 36 * 40, dtype=np.uint8).reshape(len(headers), 36, 40) % 4
    made = segmentation(headers, frames, table, kind="binary", model="m\\n", version="1")
    made.save_as(tmp_path / "seg.dcm")
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    labels = [entry.SegmentLabel for entry in read.SegmentSequence]
    assert labels == ['a, "b" [c]', "Leber \u809d/x", "z" * 64]


def test_one_class_and_too_many_bits_are_refused() -> None:
    table = ClassTable((MapClass(0, "all", (0, 0, 0)),))
    with pytest.raises(SegmentTilesError, match="one class, 'all'"):
        check_references([], "series", table, kind="binary", model="m", is_slide=False)
    with pytest.raises(SegmentTilesError, match="--dicom-seg labelmap"):
        check_voxels(2**30, 40, "binary")
    check_voxels(2**30, 40, "labelmap")
    assert run_command_line(["export", "nowhere", "--format", "dicom-seg", "--dicom-seg", "fractional"]) == 2


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
