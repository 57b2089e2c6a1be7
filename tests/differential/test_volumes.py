"""Volumes as nibabel, SimpleITK and highdicom read them: voxels, place and scale, made and real, and runs on them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume, read_volume_spec
from segment_tiles.workflows.run.describe import describe_source

SimpleITK: Any = pytest.importorskip("SimpleITK")
Call = Callable[..., Any]
SHAPE = (11, 9, 6)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_affine(image: Any) -> NDArray[np.float64]:
    """Return what SimpleITK says of the place of an image as an affine in RAS+."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return TO_LPS @ affine


def itk_values(image: Any) -> NDArray[Any]:
    """Return i x j x k."""
    return np.asarray(SimpleITK.GetArrayFromImage(image)).transpose(2, 1, 0)


def orientation(axes: Sequence[int], signs: Sequence[int], turn: float = 0.0) -> NDArray[np.float64]:
    """Return an affine whose stored axes point along these axes of the body, turned about the third."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (axis, sign, step) in enumerate(zip(axes, signs, (1.5, 0.8, 3.0), strict=True)):
        affine[axis, stored] = sign * step
    cosine, sine = np.cos(turn), np.sin(turn)
    about = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    affine[:3, :3] = about @ affine[:3, :3]
    affine[:3, 3] = (-21.5, 33.25, 7.0)
    return affine


ORIENTATIONS = [
    orientation(axes, signs, turn)
    for number, (axes, turn) in enumerate(itertools.product(itertools.permutations(range(3)), (0.0, 0.4)))
    for signs in [((1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1), (1, 1, -1), (-1, -1, -1))[number % 6]]
]
"""Every order of axes, straight and oblique, with every sign of an axis among them."""


def drawn(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return noise that has low and high values everywhere."""
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 60, shape).astype(dtype)
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return rng.integers(low, 250 if np.dtype(dtype).itemsize > 1 else 120, shape).astype(dtype)


NIFTI = [
    # name, dtype, slope and intercept, unit, code of sform, code of qform
    ("a.nii", "<i2", None, "mm", 1, 1),
    ("b.nii.gz", "<u2", (0.5, -10.0), "mm", 2, 1),
    ("c.nii", ">f4", None, "meter", 1, 0),
    ("d.nii.gz", "u1", (2.0, 3.0), "micron", 0, 1),
    ("e.nii.bz2", ">i2", None, "mm", 4, 0),
    ("f.nii.gz", "<f8", None, "mm", 1, 1),
    ("g.nii", "<i4", (0.0, 7.0), "mm", 1, 1),
    ("h.nii.gz", "i1", (np.nan, 0.0), "meter", 1, 1),
]


def write_nifti(
    path: Path, values: NDArray[Any], affine: NDArray[Any], scale: Any, unit: str, sform: int, qform: int
) -> None:
    """Write stored values, with the scale in the header and lengths in a unit."""
    factor = {"mm": 1.0, "meter": 1e-3, "micron": 1e3}[unit]
    header = nibabel.Nifti1Header(endianness=">" if values.dtype.byteorder == ">" else "<")
    header.set_data_shape(values.shape)
    header.set_data_dtype(values.dtype)
    header.set_xyzt_units(unit)
    placed = np.diag([factor, factor, factor, 1.0]) @ affine
    header.set_sform(placed, code=sform)
    header.set_qform(placed, code=qform)
    if not sform and not qform:
        header["pixdim"][1:4] = np.linalg.norm(placed[:3, :3], axis=0)
    header["scl_slope"], header["scl_inter"] = scale or (1.0, 0.0)
    header.set_data_offset(352)
    with nibabel.openers.ImageOpener(str(path), "wb") as stream:
        header.write_to(stream)
        stream.write(b"\0" * (352 - stream.tell()))
        stream.write(values.tobytes(order="F"))


@pytest.mark.parametrize("case", NIFTI, ids=[case[0] for case in NIFTI])
def test_nifti_is_what_nibabel_and_simpleitk_read(case: Any, tmp_path: Path) -> None:
    name, dtype, scale, unit, sform, qform = case
    values = drawn(SHAPE, dtype)
    for number, affine in enumerate(ORIENTATIONS):
        path = tmp_path / f"{number}-{name}"
        write_nifti(path, values, affine, scale, unit, sform, qform)
        spec = read_volume_spec(str(path), Selection())
        read = read_volume(str(path), Selection())[0]
        truth = nibabel.load(path)
        np.testing.assert_array_equal(read, truth.get_fdata().astype(read.dtype))
        np.testing.assert_allclose(spec.affine, affine, atol=2e-4)
        assert spec.notes == ()
        if name.endswith("bz2"):
            continue  # SimpleITK does not read these
        image = SimpleITK.ReadImage(str(path))
        np.testing.assert_allclose(spec.affine, itk_affine(image), atol=1e-3)
        if scale is None or (scale[0] not in {0.0} and not np.isnan(scale[0])):
            np.testing.assert_allclose(read, itk_values(image), rtol=1e-6)


def test_a_mask_of_metres_keeps_the_header_and_counts_millilitres(
    threshold_model: Call, expected_classes: Call, tmp_path: Path
) -> None:
    values, affine = drawn(SHAPE, "<i2"), ORIENTATIONS[3]
    for unit, name in (("meter", "m.nii.gz"), ("micron", "u.nii")):
        write_nifti(tmp_path / name, values, affine, None, unit, 1, 1)
        document = run_of(tmp_path / name, threshold_model(1, 99.5, "int16"), tmp_path / f"out-{unit}")
        mask = nibabel.load(tmp_path / f"out-{unit}" / "classes.nii.gz")
        np.testing.assert_array_equal(
            np.asarray(mask.dataobj), expected_classes(values[np.newaxis], None, 99.5)
        )
        np.testing.assert_array_equal(mask.affine, nibabel.load(tmp_path / name).affine)
        assert mask.header.get_xyzt_units()[0] == unit
        total = sum(entry["volume_ml"] for entry in document["classes"])
        assert total == pytest.approx(values.size * 1.5 * 0.8 * 3.0 / 1000, rel=1e-4)


def run_of(source: Path, model: Path, out: Path, *further: str) -> dict[str, Any]:
    """Return the report of a run by the command line."""
    words = [
        "run",
        str(source),
        "--model",
        str(model),
        "--out",
        str(out),
        "--quiet",
        "--device",
        "cpu",
        *further,
    ]
    assert run_command_line(words) == 0
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_times_of_nifti_are_nibabels(threshold_model: Call, expected_classes: Call, tmp_path: Path) -> None:
    values = drawn((*SHAPE, 3), "<i2")
    write_nifti(tmp_path / "t.nii.gz", values, ORIENTATIONS[4], (0.5, 1.0), "mm", 1, 1)
    truth = nibabel.load(tmp_path / "t.nii.gz").get_fdata().astype(np.float32)
    for t in range(3):
        np.testing.assert_array_equal(read_volume(str(tmp_path / "t.nii.gz"), Selection(t))[0], truth[..., t])
    back = read_volume(str(tmp_path / "t.nii.gz"), Selection(None, (3, 1)))
    np.testing.assert_array_equal(back, np.moveaxis(truth[..., [2, 0]], -1, 0))
    run_of(tmp_path / "t.nii.gz", threshold_model(2, 50.25, "float32"), tmp_path / "out", "--bands", "3,1")
    mask = np.asarray(nibabel.load(tmp_path / "out" / "classes.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, expected_classes(back, None, 50.25))


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_nrrd_is_what_simpleitk_reads(encoding: str, tmp_path: Path) -> None:
    for number, affine in enumerate(ORIENTATIONS):
        values = drawn(SHAPE, ("int16", "uint8", "float32", "uint16", "int32", "float64")[number % 6])
        image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
        placed = TO_LPS @ affine
        sides = np.linalg.norm(placed[:3, :3], axis=0)
        image.SetSpacing(sides.tolist())
        image.SetDirection((placed[:3, :3] / sides).ravel().tolist())
        image.SetOrigin(placed[:3, 3].tolist())
        path = str(tmp_path / f"{number}.nrrd")
        SimpleITK.WriteImage(image, path, encoding == "gzip")
        read = read_volume(path, Selection())[0]
        np.testing.assert_array_equal(read, values.astype(read.dtype))
        spec = read_volume_spec(path, Selection())
        np.testing.assert_allclose(spec.affine, itk_affine(SimpleITK.ReadImage(path)), atol=1e-6)


@pytest.mark.parametrize("number", [0, 3, 7, 10])
def test_a_series_is_what_simpleitk_reads(
    number: int, write_series: Call, threshold_model: Call, expected_classes: Call, tmp_path: Path
) -> None:
    values = drawn(SHAPE, "int16")
    series = write_series(tmp_path / "series", values, ORIENTATIONS[number])
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    image = reader.Execute()
    spec = read_volume_spec(str(series), Selection())
    theirs, mine = itk_values(image), read_volume(str(series), Selection())[0]
    if np.dot(itk_affine(image)[:3, 2], np.array(spec.affine)[:3, 2]) < 0:
        pytest.fail("SimpleITK sorts along the normal as well")
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(spec.affine, itk_affine(image), atol=1e-4)
    run_of(series, threshold_model(1, 99.5, "int16"), tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / "classes.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), expected_classes(mine[np.newaxis], None, 99.5))
    np.testing.assert_allclose(mask.affine, spec.affine, atol=1e-4)


def test_bits_above_the_stored_ones_are_no_values(write_series: Call, tmp_path: Path) -> None:
    """Old files keep an overlay in the highest bits of a pixel; SimpleITK drops it too."""
    values = drawn((8, 7, 3), "int16") & 0x0FFF
    series = write_series(tmp_path / "series", values, np.diag([1.0, 1.0, 2.0, 1.0]))
    for signed, file in enumerate(sorted(series.iterdir())[:2]):
        dataset = pydicom.dcmread(file)
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, signed
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") | 0x9000).astype("<u2").tobytes()
        dataset.save_as(file)
        mine = read_volume(str(file), Selection())[0, :, :, 0]
        theirs = np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))))[0].T
        np.testing.assert_array_equal(mine, theirs)


def write_enhanced(
    path: Path,
    volumes: Sequence[NDArray[Any]],
    affine: NDArray[np.float64],
    *,
    shared: bool,
    shuffled: bool = True,
) -> NDArray[np.float64]:
    """Write volumes i x j x k as one Enhanced MR file; each frame has a rescale of its own unless shared.

    Returns
    -------
    numpy.ndarray
        time x i x j x k as rescaled.
    """
    columns, rows, layers = volumes[0].shape
    placed = TO_LPS @ affine
    sides = np.linalg.norm(placed[:3, :3], axis=0)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["i"])
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, generate_uid(entropy_srcs=[name]))
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Nobody^At All", "0", "MR"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation, dataset.BitsAllocated = "MONOCHROME2", 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
    organization = generate_uid(entropy_srcs=["organization"])
    dataset.DimensionOrganizationSequence = [Dataset()]
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    dataset.DimensionIndexSequence = []
    for pointer, group in ((0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00209128, 0x00209111)):
        item = Dataset()
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
        item.DimensionOrganizationUID = organization
        dataset.DimensionIndexSequence.append(item)
    orientation_group, measures = Dataset(), Dataset()
    orientation_group.ImageOrientationPatient = [f"{v:.9f}" for v in (placed[:3, :2] / sides[:2]).T.ravel()]
    measures.PixelSpacing, measures.SliceThickness = [f"{sides[1]:.9g}", f"{sides[0]:.9g}"], f"{sides[2]:.9g}"
    common = Dataset()
    if shared:
        common.PlaneOrientationSequence, common.PixelMeasuresSequence = [orientation_group], [measures]
    dataset.SharedFunctionalGroupsSequence = [common]
    frames, pixels = [], []
    order = [(t, k) for t in range(len(volumes)) for k in range(layers)]
    if shuffled:
        np.random.default_rng(3).shuffle(order)
    truth = np.zeros((len(volumes), columns, rows, layers))
    for t, k in order:
        frame, content, position, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", k + 1, t + 1
        content.DimensionIndexValues = [1, k + 1, t + 1]
        position.ImagePositionPatient = [f"{v:.9g}" for v in (placed @ [0, 0, k, 1])[:3]]
        slope, intercept = (1.0, 0.0) if shared else (1.0 + 0.5 * k + t, -3.0 * k)
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = slope, intercept, "US"
        frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
        frame.PixelValueTransformationSequence = [rescale]
        if not shared:
            frame.PlaneOrientationSequence, frame.PixelMeasuresSequence = [orientation_group], [measures]
        frames.append(frame)
        pixels.append(volumes[t][:, :, k].T)
        truth[t, :, :, k] = volumes[t][:, :, k] * slope + intercept
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.ascontiguousarray(pixels).astype("<u2").tobytes()
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return truth


@pytest.mark.parametrize("number", [0, 3, 6, 11])
@pytest.mark.parametrize("shared", [True, False])
def test_an_enhanced_file_is_what_highdicom_reads(shared: bool, number: int, tmp_path: Path) -> None:
    values, affine = drawn(SHAPE, "uint16"), ORIENTATIONS[number]
    truth = write_enhanced(tmp_path / "one" / "IM1", [values], affine, shared=shared)[0]
    spec = read_volume_spec(str(tmp_path / "one"), Selection())
    mine = read_volume(str(tmp_path / "one"), Selection())[0]
    assert mine.dtype == ("uint16" if shared else "float32")
    theirs = highdicom.imread(tmp_path / "one" / "IM1").get_volume(apply_modality_transform=True)
    theirs = theirs.to_patient_orientation(highdicom_order(spec.affine))
    np.testing.assert_array_equal(mine, theirs.array.astype(mine.dtype))
    np.testing.assert_allclose(TO_LPS @ theirs.affine, spec.affine, atol=1e-5)
    flipped = np.dot(np.array(spec.affine)[:3, 2], affine[:3, 2]) < 0
    np.testing.assert_array_equal(mine, (truth[:, :, ::-1] if flipped else truth).astype(mine.dtype))


def test_an_enhanced_ct_is_read_as_its_mr(tmp_path: Path) -> None:
    values, affine = drawn(SHAPE, "uint16"), ORIENTATIONS[3]
    truth = write_enhanced(tmp_path / "mr" / "IM1", [values], affine, shared=False)[0]
    dataset = pydicom.dcmread(tmp_path / "mr" / "IM1")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.Modality = "CT"
    (tmp_path / "ct").mkdir()
    dataset.save_as(tmp_path / "ct" / "IM1")
    spec = read_volume_spec(str(tmp_path / "ct"), Selection())
    mine = read_volume(str(tmp_path / "ct"), Selection())[0]
    flipped = np.dot(np.array(spec.affine)[:3, 2], affine[:3, 2]) < 0
    np.testing.assert_array_equal(mine, (truth[:, :, ::-1] if flipped else truth).astype(np.float32))
    np.testing.assert_array_equal(mine, read_volume(str(tmp_path / "mr"), Selection())[0])


def highdicom_order(affine: Any) -> str:
    """Return the letters of stored axes as highdicom names them: where each points."""
    names = {"R": "R", "L": "L", "A": "A", "P": "P", "S": "H", "I": "F"}
    return "".join(names[letter] for letter in nibabel.aff2axcodes(np.asarray(affine)))


def test_times_of_an_enhanced_file(threshold_model: Call, expected_classes: Call, tmp_path: Path) -> None:
    volumes = [drawn(SHAPE, "uint16") + np.uint16(40 * t) for t in range(3)]
    affine = orientation((0, 1, 2), (-1, -1, 1))
    truth = write_enhanced(tmp_path / "s" / "IM1", volumes, affine, shared=False)
    source = str(tmp_path / "s" / "IM1")  # a file without suffix, as scanners write them
    assert describe_source(source)["times"] == 3
    for t in range(3):
        np.testing.assert_array_equal(read_volume(source, Selection(t))[0], truth[t].astype(np.float32))
    np.testing.assert_allclose(read_volume_spec(source, Selection(1)).affine, affine, atol=1e-5)
    run_of(tmp_path / "s", threshold_model(1, 150.25, "float32"), tmp_path / "out", "--t", "2")
    mask = np.asarray(nibabel.load(tmp_path / "out" / "classes.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, expected_classes(truth[2:], None, 150.25))


# real files


def real_truth(folder: Path) -> Any:
    """Return the NIfTI that the source project made of a folder."""
    return nibabel.load(folder / "ground_truth.nii.gz")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "t"),
    [
        ("hyperfine_enhanced", None), ("siemens_multiframe", None),
        pytest.param("compressed_j2k", None, marks=pytest.mark.slow),
        pytest.param("ge_single_slice", None, marks=pytest.mark.slow),
        pytest.param("anatomical", None, marks=pytest.mark.slow),
        *(("philips_enhanced_fmri", t) for t in range(4)),
    ],
)  # fmt: skip
def test_real_series_are_their_ground_truth(
    name: str, t: int | None, shared_real: Path, threshold_model: Call, expected_classes: Call, tmp_path: Path
) -> None:
    folder = shared_real / "dicom2nifti" / name
    truth = real_truth(folder)
    spec = read_volume_spec(str(folder), Selection(t))
    mine = read_volume(str(folder), Selection(t))[0]
    theirs = truth.get_fdata() if t is None else truth.get_fdata()[..., t]
    # both may store an axis the other way round: compared in one order of axes
    own = nibabel.as_closest_canonical(nibabel.Nifti1Image(mine, np.array(spec.affine)))
    other = nibabel.as_closest_canonical(nibabel.Nifti1Image(theirs, truth.affine))
    np.testing.assert_allclose(own.get_fdata(), other.get_fdata(), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(own.affine, other.affine, atol=2e-3)
    assert any("ground_truth.nii.gz" in note for note in spec.notes), "what is left out is said"
    if t not in {None, 2}:
        return
    level = float(np.median(mine)) + 0.25
    further = () if t is None else ("--t", str(t))
    run_of(folder, threshold_model(1, level, spec.dtype, 64), tmp_path / "out", *further)
    mask = np.asarray(nibabel.load(tmp_path / "out" / "classes.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, expected_classes(mine[np.newaxis], None, level))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["hyperfine_enhanced", "siemens_multiframe"])
def test_real_enhanced_files_are_what_simpleitk_reads(name: str, shared_real: Path) -> None:
    (file,) = (shared_real / "dicom2nifti" / name).glob("*.dcm")
    image = SimpleITK.ReadImage(str(file))
    np.testing.assert_array_equal(read_volume(str(file), Selection())[0], itk_values(image))
    spec = read_volume_spec(str(file), Selection())
    np.testing.assert_allclose(spec.affine, itk_affine(image), atol=1e-3)
