"""DICOM SEG of slides: a DICOM pyramid through a run, read again by highdicom, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import openslide
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid
from skimage.data import immunohistochemistry

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import PlanError, SegmentTilesError
from segment_tiles.pipeline.outputs.dicom.segmentation import PIXELS_AT_MOST
from segment_tiles.pipeline.outputs.dicom.slide import check_slide_pixels
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run.request import plan_run

SHAPE = (300, 420)
"""Rows and columns of full resolution: no multiples of the tiles."""
SPACING = 0.0005
"""Millimetres."""
TILE = 64
BOTH = ("zarr", "dicom-seg")
SERIES, STUDY, FRAME = (generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame"))


def _identified(number: int) -> Dataset:
    """Return what says whose image this is, and of which slide."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["level", str(number)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Nobody^At All", "0", "SM"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260101", "000000", ""
    dataset.SeriesNumber, dataset.InstanceNumber = 4, number
    dataset.ContainerIdentifier, dataset.PositionReferenceIndicator = "glass 7", "SLIDE_CORNER"
    return dataset


def _placed(dataset: Dataset, shape: tuple[int, int], spacing: float) -> None:
    """Say where on the glass it lies: rows run against y, columns against x, as scanners have them."""
    origin, measures, groups = Dataset(), Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    dataset.TotalPixelMatrixOriginSequence = [origin]
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = shape
    dataset.TotalPixelMatrixFocalPlanes = dataset.NumberOfOpticalPaths = 1
    dataset.DimensionOrganizationType = "TILED_FULL"
    measures.PixelSpacing, measures.SliceThickness = [spacing, spacing], 0.001
    groups.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [groups]


def write_level(path: Path, values: NDArray[np.uint8], spacing: float, number: int) -> None:
    """Write one level (rows x columns x 3) as a VL Whole Slide Microscopy Image in native tiles."""
    dataset = _identified(number)
    _placed(dataset, values.shape[:2], spacing)
    kind = (
        ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        if number == 1
        else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    )
    dataset.ImageType, dataset.LossyImageCompression = kind, "00"
    dataset.Rows = dataset.Columns = TILE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    down, across = (-(-side // TILE) for side in values.shape[:2])
    padded = np.full((down * TILE, across * TILE, 3), 255, np.uint8)
    padded[: values.shape[0], : values.shape[1]] = values
    frames = padded.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
    dataset.NumberOfFrames, dataset.PixelData = down * across, frames.tobytes()
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels of a real stain with bare glass at the left, 0.5 and 1 micrometre per pixel; a label beside them."""
    folder = tmp_path_factory.mktemp("dicom-slide")
    values = immunohistochemistry()[: SHAPE[0], : SHAPE[1]].copy()
    values[:, :80] = (243, 241, 245)
    halved = values.reshape(SHAPE[0] // 2, 2, SHAPE[1] // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    write_level(folder / "b.dcm", values, SPACING, 1)
    write_level(folder / "a.dcm", halved, 2 * SPACING, 2)
    (folder / "notes.txt").write_text("no DICOM")
    with openslide.OpenSlide(folder / "a.dcm") as opened:
        assert opened.level_dimensions == (SHAPE[::-1], (SHAPE[1] // 2, SHAPE[0] // 2))
        np.testing.assert_array_equal(np.asarray(opened.read_region((0, 0), 0, SHAPE[::-1]))[..., :3], values)
    return folder / "a.dcm"


def written(out: Path) -> tuple[NDArray[Any], Any]:
    """Return the codes of a run with background for no data, and what highdicom reads of its segmentation."""
    codes = np.asarray(open_store(out / "classes.zarr")["classes"][:])
    return np.where(codes == 255, 0, codes), highdicom.seg.segread(out / "classes.seg.dcm")


@pytest.mark.parametrize(
    ("changes", "step", "level"),
    [
        ({}, 1.0, "b.dcm"),
        ({"dicom_seg": "labelmap"}, 1.0, "b.dcm"),
        ({"level": 1}, 2.0, "a.dcm"),
        ({"mpp": 0.8}, 1.6, "b.dcm"),
        ({"mpp": 1.7, "tissue": "off"}, 3.4, "a.dcm"),
        # the file says 0.5: the map is of every second pixel, wherever the truth lies
        ({"mpp": 0.5, "source_mpp": 0.25}, 2.0, "a.dcm"),
    ],
)
def test_the_segmentation_read_again_is_the_map(
    changes: dict[str, Any], step: float, level: str, slide: Path, small_model: Path,
    run_on: Callable[..., Any], tmp_path: Path,
) -> None:  # fmt: skip
    report = run_on(slide, small_model, tmp_path / "out", formats=BOTH, **changes)
    assert "classes.seg.dcm" in report["outputs"]
    codes, segmentation = written(tmp_path / "out")
    assert codes.shape == tuple(round(side / step) for side in SHAPE)
    assert len(np.unique(codes)) == 3
    matrix = segmentation.get_total_pixel_matrix(combine_segments=True)
    np.testing.assert_array_equal(matrix, codes)
    kind = "BINARY" if changes.get("dicom_seg", "binary") == "binary" else "LABELMAP"
    assert (segmentation.SegmentationType, segmentation.DimensionOrganizationType) == (kind, "TILED_FULL")
    assert (segmentation.Rows, segmentation.Columns) == (TILE, TILE)
    tiles = np.prod([-(-side // TILE) for side in codes.shape])
    assert segmentation.NumberOfFrames == (2 * tiles if kind == "BINARY" else tiles)
    (measures,) = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert [float(size) for size in measures.PixelSpacing] == pytest.approx([step * SPACING] * 2)

    names = {entry.SegmentNumber: entry.SegmentLabel for entry in segmentation.SegmentSequence}
    assert names == {**({} if kind == "BINARY" else {0: "Background"}), 1: "tree", 2: "water"}
    source = pydicom.dcmread(slide.with_name(level), stop_before_pixels=True)
    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == SERIES
    assert [image.ReferencedSOPInstanceUID for image in series.ReferencedInstanceSequence] == [
        source.SOPInstanceUID
    ]
    assert segmentation.FrameOfReferenceUID == FRAME
    assert segmentation.ContainerIdentifier == "glass 7"
    (origin,) = segmentation.TotalPixelMatrixOriginSequence
    assert (origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem) == (20, 40)
    assert segmentation.ImageOrientationSlide == source.ImageOrientationSlide


def test_the_same_map_is_exported_with_the_same_identifier(
    slide: Path, small_model: Path, run_on: Callable[..., Any], tmp_path: Path
) -> None:
    run_on(slide, small_model, tmp_path / "out", formats=BOTH)
    file = tmp_path / "out" / "classes.seg.dcm"
    _, segmentation = written(tmp_path / "out")
    file.unlink()
    assert run_command_line(["export", str(tmp_path / "out"), "--format", "dicom-seg"]) == 0
    assert pydicom.dcmread(file).SOPInstanceUID == segmentation.SOPInstanceUID
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["outputs"].count("classes.seg.dcm") == 1


def test_what_is_no_dicom_slide_is_refused_at_the_door(
    slide: Path, small_model: Path, aerial_crop: Path, write_as: Callable[..., Path],
    refused: Callable[..., None], tmp_path: Path,
) -> None:  # fmt: skip
    values = np.random.default_rng(0).integers(0, 255, (3, 96, 80), dtype=np.uint8)
    picture = tmp_path / "picture.png"
    Image.fromarray(values.transpose(1, 2, 0)).save(picture)
    no_slide = "is no DICOM slide or series; use ome-tiff or ome-zarr"
    for source, options, words in (
        (aerial_crop, [], ["cannot hold the CRS of ", "; use cog"]),
        (write_as("slide", values, 0.5), [], [no_slide]),
        (write_as("ome-zarr-0.5", values, 0.5), [], [no_slide]),
        (picture, [], [no_slide]),
        (slide, ["--roi", "0,0,100,100"], ["--roi", "--format ome-tiff"]),
    ):
        out = tmp_path / "out"
        asked = ["run", str(source), "--model", str(small_model), "--out", str(out), *options]
        refused([*asked, "--format", "zarr,dicom-seg"], "--format", "dicom-seg", *words)
        assert not (out / "report.json").exists()


def test_memory_is_planned_and_limited(
    slide: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_slide_pixels(PIXELS_AT_MOST)
    with pytest.raises(
        SegmentTilesError, match=r"take about 4.0 GiB; .* use --format ome-tiff, or a coarser"
    ):
        check_slide_pixels(PIXELS_AT_MOST + 1)

    def planned(*formats: str, memory: int | None = None) -> Plan:
        settings: dict[str, Any] = {
            "precision": "fp32",
            "device": "cpu",
            "formats": formats,
            "memory": memory,
        }
        return plan_run(RunConfig(str(slide), str(small_model), tmp_path / "out", **settings))

    finishing = [planned(*formats).memory.finishing for formats in (("zarr",), ("zarr", "dicom-seg"))]
    assert finishing[1] - finishing[0] == 4 * SHAPE[0] * SHAPE[1]
    monkeypatch.setattr("segment_tiles.workflows.plans.memory_plan.takes", lambda segments, kind: 2**24)
    with pytest.raises(PlanError, match=r"--memory allows 2 GB, but DICOM SEG .*--format ome-tiff"):
        planned("zarr", "dicom-seg", memory=2 * 10**9)


def test_the_map_of_a_part_is_refused_on_export(
    slide: Path, small_model: Path, run_on: Callable[..., Any], refused: Callable[..., None], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_on(slide, small_model, out, roi=(0, 0, 200, 200), formats=("zarr",), tissue="off")
    refused(["export", str(out), "--format", "dicom-seg"], "covers whole slides", "use --format ome-tiff")
    assert not (out / "classes.seg.dcm").exists()


def test_what_a_slide_lacks_is_named_at_once_before_anything_is_computed(
    slide: Path, small_model: Path, run_on: Callable[..., Any], refused: Callable[..., None], tmp_path: Path
) -> None:
    for name in ("a.dcm", "b.dcm"):
        dataset = pydicom.dcmread(slide.with_name(name))
        for keyword in ("PatientID", "PatientBirthDate", "StudyTime", "AccessionNumber"):
            delattr(dataset, keyword)
        dataset.SpecificCharacterSet = ""
        (tmp_path / "filled").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "filled" / name)
        del dataset.StudyInstanceUID, dataset.Modality
        (tmp_path / "bare").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "bare" / name)
    run_on(tmp_path / "filled" / "a.dcm", small_model, tmp_path / "out", formats=BOTH, level=1)
    codes, made = written(tmp_path / "out")
    np.testing.assert_array_equal(made.get_total_pixel_matrix(combine_segments=True), codes)
    words = ("no StudyInstanceUID", "no Modality", "use --format ome-tiff")
    asked = [str(tmp_path / "bare" / "a.dcm"), "--model", str(small_model), "--format", "zarr,dicom-seg"]
    refused(["plan", *asked], *words)
    refused(["run", *asked, "--out", str(tmp_path / "none")], *words)
    assert not (tmp_path / "none" / "report.json").exists()


def test_pydicom_reads_the_bits_of_a_slide(
    slide: Path, small_model: Path, run_on: Callable[..., Any], tmp_path: Path
) -> None:
    """SimpleITK 2.5 reads no Segmentation of a slide, highdicom's own examples included: it wants a patient's axes."""
    run_on(slide, small_model, tmp_path / "out", formats=BOTH, level=1)
    codes, _ = written(tmp_path / "out")
    frames = pydicom.dcmread(tmp_path / "out" / "classes.seg.dcm").pixel_array
    down, across = (-(-side // TILE) for side in codes.shape)
    # TILED_FULL: all tiles of a segment in reading order, then those of the next
    segments = frames.reshape(2, down, across, TILE, TILE).swapaxes(2, 3).reshape(2, down * TILE, -1)
    found = segments[0] * 1 + segments[1] * 2
    np.testing.assert_array_equal(found[: codes.shape[0], : codes.shape[1]], codes)
