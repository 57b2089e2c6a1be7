"""What a volume says of itself: damaged files, units, what lies beside a series, formats that are not read."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLosslessSV1, generate_uid

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.sources.volumes import dicom_frames
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume, read_volume_spec
from segment_tiles.workflows.run.describe import describe_source

Call = Callable[..., Any]
STRAIGHT = np.diag([1.0, 1.0, 2.0, 1.0])


def test_a_damaged_gzip_is_refused_wherever_the_damage_is(
    grey_model: Path, scan: Call, refused: Call, tmp_path: Path
) -> None:
    """Checksum and length stand behind the voxels, where a reader that has enough never looks."""
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "good.nii")
    whole = gzip.compress((tmp_path / "good.nii").read_bytes(), mtime=0)
    damaged = {
        "checksum": whole[:-8] + bytes(byte ^ 255 for byte in whole[-8:-4]) + whole[-4:],
        "length": whole[:-4] + b"\1\0\0\0",
        "no-end": whole[:-8],
        "half-end": whole[:-3],
        "cut": whole[: len(whole) // 2],
        "behind": whole + b"behind the member",
        "bit": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :],
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(content)
        with pytest.raises(SourceError, match="damaged"):
            read_volume(str(path), Selection())
    out = tmp_path / "out"
    words = ["run", str(tmp_path / "checksum.nii.gz"), "--model", str(grey_model), "--out", str(out)]
    refused([*words, "--precision", "fp32"], "ends early or is damaged", "CRC")
    assert not (out / "classes.zarr").exists()
    assert not (out / "report.json").exists()
    padded = tmp_path / "padded.nii.gz"
    padded.write_bytes(whole + b"\0" * 100)  # what tapes and tar leave
    np.testing.assert_array_equal(read_volume(str(padded), Selection())[0], scan())


def test_a_nifti_without_compression_that_is_short_is_refused_by_info(
    scan: Call, refused: Call, tmp_path: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "scan.nii")
    content = (tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii").write_bytes(content[:-100])
    needed, have = f"{len(content):,}", f"{len(content) - 100:,}"
    refused(["info", str(tmp_path / "scan.nii")], "ends early", f"needs {needed} bytes, and it has {have}")


def test_what_a_nifti_leaves_open_is_said(
    scan: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def notes(name: str, image: Any) -> str:
        nibabel.save(image, tmp_path / name)
        return " ".join(describe_source(str(tmp_path / name))["notes"])

    image = nibabel.Nifti1Image(scan(), STRAIGHT)
    image.header.set_xyzt_units("unknown")
    assert "says no known unit of length (unknown); millimetres are assumed" in notes("u.nii", image)
    image.header["xyzt_units"] = 5
    assert "(code 5)" in notes("code.nii", image)
    image = nibabel.Nifti1Image(scan(), STRAIGHT)
    image.header.set_xyzt_units("mm")
    image.set_sform(STRAIGHT, 1)
    image.set_qform(np.diag([1.0, -1.0, 2.0, 1.0]), 1)
    assert "sform and qform place it up to 70 mm apart; sform is used" in notes("apart.nii", image)
    image.set_sform(STRAIGHT, 0)
    image.set_qform(STRAIGHT, 0)
    assert "left and right are a guess" in notes("unplaced.nii", image)
    image.set_sform(STRAIGHT, 1)
    image.set_qform(STRAIGHT, 1)
    assert not notes("clear.nii", image)
    content = bytearray((tmp_path / "clear.nii").read_bytes())
    content[80:84] = bytes(4)  # pixdim[1], which nibabel repairs and prints a line of its own about
    (tmp_path / "zero.nii").write_bytes(bytes(content))
    capsys.readouterr()
    assert run_command_line(["info", str(tmp_path / "zero.nii"), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "setting 0 dims to 1" in json.loads(printed.out)["notes"][0]


def test_units_of_nrrd_are_converted(tmp_path: Path) -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3) * 0.002,
        "space origin": np.ones(3),
    }
    values = np.ones((4, 5, 6), np.int16)

    def spec_of(unit: str) -> Any:
        nrrd.write(str(tmp_path / "v.nrrd"), values, {**header, "space units": [unit] * 3})
        return read_volume_spec(str(tmp_path / "v.nrrd"), Selection())

    assert spec_of("mm").voxel_volume == pytest.approx(0.002**3)
    assert spec_of("m").voxel_volume == pytest.approx(8.0)
    assert spec_of("um").voxel_volume == pytest.approx(0.000002**3)
    assert spec_of("m").affine[0][3] == -1000
    assert "no known unit of length (furlong)" in spec_of("furlong").notes[0]


def _beside(folder: Path, template: Path, name: str, sop_class: str, **changes: Any) -> None:
    """Write another DICOM object into the folder of a series."""
    dataset = pydicom.dcmread(template)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(sop_class)
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[name])
    for tag in ("PixelData", "ImagePositionPatient", "Rows", "Columns"):
        del dataset[tag]
    for key, value in changes.items():
        setattr(dataset, key, value)
    dataset.save_as(folder / name)


def test_what_lies_beside_a_series_is_left_out_and_said(
    write_series: Call, scan: Call, refused: Call, tmp_path: Path
) -> None:
    series = write_series(tmp_path / "series", scan((12, 10, 5)), STRAIGHT)
    alone = describe_source(str(series))
    assert alone["notes"] == []
    template = series / "0001.dcm"
    _beside(series, template, "0000-report.dcm", "1.2.840.10008.5.1.4.1.1.88.33")
    _beside(series, template, "seg.dcm", "1.2.840.10008.5.1.4.1.1.66.4")
    _beside(series, template, "state.dcm", "1.2.840.10008.5.1.4.1.1.11.1")
    _beside(series, template, "dose.dcm", "1.2.840.10008.5.1.4.1.1.481.2")
    _beside(series, template, "screen.dcm", "1.2.840.10008.5.1.4.1.1.7")
    (series / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (series / "readme.txt").write_text("from the archive")
    document = describe_source(str(series))
    assert document["voxels"] == alone["voxels"]
    assert document["affine_ras_mm"] == alone["affine_ras_mm"]
    (note,) = document["notes"]
    for words in ("1 Comprehensive SR Storage", "1 Segmentation Storage", "1 Secondary Capture", "1 RT Dose",
                  "Presentation State", "DICOMDIR and 1 more"):  # fmt: skip
        assert words in note
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(series / "seg.dcm", only)
    refused(["info", str(only)], "holds 1 Segmentation Storage, but no image of a scanner")
    refused(["info", str(only / "seg.dcm")], "1 Segmentation Storage")
    disc = tmp_path / "disc"
    (disc / "A" / "B").mkdir(parents=True)
    shutil.copy(series / "DICOMDIR", disc)
    refused(["info", str(disc)], "top of a DICOM disc", "disc/A")
    refused(["info", str(disc / "DICOMDIR")], "directory of a DICOM disc")


def _changed(series: Path, out: Path, delete: str = "", **changes: Any) -> Path:
    out.mkdir()
    for file in sorted(series.iterdir()):
        dataset = pydicom.dcmread(file)
        for name, value in changes.items():
            setattr(dataset, name, value)
        if delete:
            del dataset[delete]
        dataset.save_as(out / file.name)
    return out


def test_a_slice_without_thickness_has_no_millilitres(
    write_series: Call, scan: Call, grey_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = write_series(tmp_path / "one", scan((40, 30, 1)), STRAIGHT)
    assert describe_source(str(series))["voxel_volume_mm3"] == 2.0
    flat = _changed(series, tmp_path / "flat", "SliceThickness")
    document = describe_source(str(flat))
    assert document["voxel_volume_mm3"] is None
    assert "its depth is unknown" in document["notes"][0]
    words = [
        "run",
        str(flat),
        "--model",
        str(grey_model),
        "--out",
        str(tmp_path / "out"),
        "--precision",
        "fp32",
    ]
    assert run_command_line(words) == 0
    printed = capsys.readouterr()
    assert "its depth is unknown and no millilitres are reported" in printed.err
    assert "unknown" in printed.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["volume_unit"] is None
    assert {entry["volume_ml"] for entry in report["classes"]} == {None}
    assert sum(entry["voxels"] for entry in report["classes"]) == 40 * 30
    assert run_command_line([*words, "--quiet"]) == 0, "a finished run is found again"


def test_an_inverted_series_is_said_and_colours_by_a_palette_refused(
    write_series: Call, scan: Call, refused: Call, tmp_path: Path
) -> None:
    series = write_series(tmp_path / "series", scan((12, 10, 3)), STRAIGHT)
    inverted = _changed(series, tmp_path / "inverted", PhotometricInterpretation="MONOCHROME1")
    assert "MONOCHROME1" in describe_source(str(inverted))["notes"][0]
    np.testing.assert_array_equal(
        read_volume(str(inverted), Selection()), read_volume(str(series), Selection())
    )
    palette = _changed(series, tmp_path / "palette", PhotometricInterpretation="PALETTE COLOR")
    refused(["info", str(palette)], "palette of colours")
    table = _changed(series, tmp_path / "table", ModalityLUTSequence=[pydicom.Dataset()])
    refused(["info", str(table)], "Modality LUT")


def test_a_codec_that_is_missing_is_named(
    write_series: Call, scan: Call, refused: Call, tmp_path: Path
) -> None:
    series = write_series(tmp_path / "series", scan((12, 10, 2)), STRAIGHT)
    for file in series.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset.save_as(file)
    refused(["info", str(series)], "compressed as JPEG Lossless", "no decoder is installed", "pylibjpeg")


def test_formats_of_volumes_that_are_not_read_are_named(scan: Call, refused: Call, tmp_path: Path) -> None:
    values = scan((8, 8, 4)).astype(np.float32)
    nibabel.save(nibabel.MGHImage(values, np.eye(4)), tmp_path / "t1.mgz")
    nibabel.save(nibabel.Nifti1Pair(values, np.eye(4)), tmp_path / "pair.hdr")
    nibabel.save(nibabel.AnalyzeImage(values, np.eye(4)), tmp_path / "old.hdr")
    (tmp_path / "meta.mha").write_bytes(b"ObjectType = Image\n")
    for name, words in (
        ("t1.mgz", "FreeSurfer"),
        ("pair.hdr", "NIfTI pair"),
        ("pair.img", "NIfTI pair"),
        ("old.img", "Analyze 7.5 pair"),
        ("meta.mha", "MetaImage"),
    ):
        refused(["info", str(tmp_path / name)], words, "convert it to NIfTI")


def test_frames_that_make_no_volume_are_refused() -> None:
    """The same position twice with nothing to tell the frames apart; positions with different numbers of frames."""
    from segment_tiles.pipeline.sources.volumes.series_checks import SliceHeader, in_order  # noqa: PLC0415

    def frame(number: int, z: float, *indices: int) -> SliceHeader:
        return SliceHeader(
            Path("f.dcm"), "s", 4, 4, "uint16", (1.0, 1.0), (0.0, 0.0, z), (1.0, 0, 0, 0, 1.0, 0), 1.0,
            frame=number, indices=indices,
        )  # fmt: skip

    good = [frame(0, 0, 1, 1), frame(1, 1, 2, 1), frame(2, 0, 1, 2), frame(3, 1, 2, 2)]
    assert [[f.frame for f in volume] for volume in in_order(Path("f"), good)] == [[0, 1], [2, 3]]
    with pytest.raises(SourceError, match="same position and have the same indices"):
        in_order(Path("f"), [*good[:2], frame(2, 0, 1, 1), frame(3, 1, 2, 1)])
    with pytest.raises(SourceError, match="1 frame at the position of"):
        in_order(Path("f"), good[:3])
    with pytest.raises(SourceError, match="have other indices than those"):
        in_order(Path("f"), [*good[:3], frame(3, 1, 2, 3)])


@pytest.mark.shared
def test_a_tilted_gantry_is_refused(shared_real: Path, refused: Call) -> None:
    refused(["info", str(shared_real / "dcm_qa_ct" / "philips_tilt_subset")], "tilted gantry", "18.5 degrees")


@pytest.mark.shared
def test_dicom_seg_of_an_enhanced_file_is_refused(
    shared_real: Path, refused: Call, grey_model: Path, tmp_path: Path
) -> None:
    source = str(shared_real / "dicom2nifti" / "hyperfine_enhanced")
    words = ["plan", source, "--model", str(grey_model)]
    run = ["run", *words[1:], "--out", str(tmp_path / "out"), "--format", "dicom-seg"]
    refused(run, "enhanced file of frames", "use nifti")


@pytest.mark.shared
def test_an_enhanced_file_of_several_times_leaves_the_choice_open(shared_real: Path) -> None:
    folder = str(shared_real / "dicom2nifti" / "philips_enhanced_fmri")
    with pytest.raises(
        SourceError, match=r"four dimensions \(64 x 64 x 8 x 4\); choose one volume by --t, 0 to 3"
    ):
        read_volume_spec(folder, Selection())
    with pytest.raises(SourceError, match=r"--t is 4, but .* has 4 volumes"):
        read_volume_spec(folder, Selection(4))


def test_pixels_that_are_missing_are_an_error(write_series: Call, scan: Call, tmp_path: Path) -> None:
    series = write_series(tmp_path / "series", scan((12, 10, 4)), STRAIGHT)
    file = series / "0002.dcm"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(
        SourceError, match=r"0002.dcm: has 190 bytes of pixels, and its header needs 240; copy it again"
    ):
        read_volume(str(series), Selection())


@pytest.mark.shared
def test_segmentations_are_no_scans(shared_real: Path, refused: Call) -> None:
    for file in sorted((shared_real / "highdicom").glob("seg_*.dcm")):
        refused(["info", str(file)], "Segmentation Storage, but no image of a scanner")


def test_functional_groups_that_are_missing_are_named(tmp_path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.EnhancedCTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["x"])
    dataset.Rows = dataset.Columns = 2
    dataset.NumberOfFrames = 3
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.PixelRepresentation = 1, 8, 0
    dataset.PixelData = bytes(12)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(SourceError, match="holds 3 frames and does not say where each lies"):
        dicom_frames.slice_headers(tmp_path / "a.dcm")
    dataset.PerFrameFunctionalGroupsSequence = [pydicom.Dataset()] * 2
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(SourceError, match="3 frames, but functional groups of 2"):
        dicom_frames.slice_headers(tmp_path / "a.dcm")
    dataset.NumberOfFrames = 2
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(SourceError, match="frame 1 has no ImagePositionPatient"):
        dicom_frames.slice_headers(tmp_path / "a.dcm")
