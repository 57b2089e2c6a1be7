"""Runs on volumes: real test files of nibabel and pydicom, outputs, evaluation, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nibabel.testing
import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.demo import DEMOS
from segment_tiles.workflows.run.describe import describe_source
from segment_tiles.workflows.training.evaluate import TruthSettings, evaluate

Call = Callable[..., Any]
NIBABEL = Path(str(nibabel.testing.data_path))


@pytest.mark.parametrize(
    ("name", "t", "shape"),
    [
        ("example4d.nii.gz", 1, (128, 96, 24)),  # oblique, qform and sform
        ("anatomical.nii", None, (33, 41, 25)),  # big-endian
        ("functional.nii", 2, (17, 21, 3)),
    ],
)
@pytest.mark.parametrize("axis", ["axial", "coronal"])
def test_the_mask_has_the_header_of_nibabels_own_volumes(
    name: str,
    t: int | None,
    shape: tuple[int, int, int],
    axis: str,
    grey_model: Path,
    run_on: Call,
    tmp_path: Path,
) -> None:
    if axis == "coronal" and name == "example4d.nii.gz":
        pytest.skip("96 slices more would show nothing that the small volumes do not")
    report = run_on(NIBABEL / name, grey_model, tmp_path / "out", t=t, axis=axis)
    assert report["outputs"] == ["classes.zarr", "classes.nii.gz", "preview.png", "report.json"]
    source, mask = nibabel.load(NIBABEL / name), nibabel.load(tmp_path / "out" / "classes.nii.gz")
    assert mask.shape == shape
    assert mask.get_data_dtype() == np.uint8
    assert mask.header.get_slope_inter() == (None, None)
    np.testing.assert_array_equal(mask.affine, source.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "srow_x", "srow_y", "srow_z", "quatern_b",
                  "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):  # fmt: skip
        np.testing.assert_array_equal(mask.header[field], source.header[field], err_msg=field)
    np.testing.assert_array_equal(mask.header["pixdim"][:4], source.header["pixdim"][:4])
    counts = np.bincount(np.asarray(mask.dataobj).ravel(), minlength=3)
    volume = abs(np.linalg.det(source.affine[:3, :3])) / 1000
    for entry in report["classes"]:
        assert entry["voxels"] == counts[entry["code"]]
        assert entry["volume_ml"] == pytest.approx(counts[entry["code"]] * volume)
    assert "not for diagnosis" in report["notice"]
    with Image.open(tmp_path / "out" / "preview.png") as picture:
        assert picture.size[0] > 600


def test_every_voxel_of_the_mask_lies_where_the_network_saw_it(
    grey_model: Path, run_on: Call, scan: Call, tmp_path: Path
) -> None:
    """A bright corner of the body is in the same voxels of mask and scan, however the scan is stored."""
    values = scan()
    straight = nibabel.Nifti1Image(values, np.eye(4))
    turned = nibabel.Nifti1Image(values[::-1, :, ::-1].transpose(2, 0, 1), _turned_affine(values.shape))
    masks = []
    for name, image in (("straight", straight), ("turned", turned)):
        nibabel.save(image, tmp_path / f"{name}.nii")
        run_on(tmp_path / f"{name}.nii", grey_model, tmp_path / name)
        masks.append(nibabel.load(tmp_path / name / "classes.nii.gz"))
    back = np.asarray(nibabel.as_closest_canonical(masks[1]).dataobj)
    np.testing.assert_array_equal(back, np.asarray(masks[0].dataobj))
    assert len(np.unique(back)) == 3


def _turned_affine(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Of values[::-1, :, ::-1].transpose(2, 0, 1): stored axes are k backward, i backward, j."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -1, -1, 1, 1
    affine[0, 3], affine[2, 3] = shape[0] - 1, shape[2] - 1
    return affine


def test_neighbouring_slices_are_bands(small_model: Path, run_on: Call, scan: Call, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(SegmentTilesError, match="1 value per voxel is read, but model small takes 3 bands"):
        run_on(tmp_path / "scan.nii", small_model, tmp_path / "none")
    report = run_on(tmp_path / "scan.nii", small_model, tmp_path / "out", neighbours=1)
    assert report["source"]["neighbours"] == 1
    # the same three slices as channels of a file of four dimensions give the same map of the middle one
    values = scan()
    stacked = np.stack([values[..., [max(k - 1, 0), k, min(k + 1, 5)]] for k in range(6)], axis=2)
    nibabel.save(nibabel.Nifti1Image(stacked, np.eye(4)), tmp_path / "bands.nii")
    run_on(tmp_path / "bands.nii", small_model, tmp_path / "bands", bands=(1, 2, 3))
    first, second = (
        np.asarray(nibabel.load(tmp_path / name / "classes.nii.gz").dataobj) for name in ("out", "bands")
    )
    np.testing.assert_array_equal(first, second)


def test_bad_words_and_files_are_refused_in_one_line(
    grey_model: Path, small_model: Path, scan: Call, refused: Call, tmp_path: Path
) -> None:
    model, out = str(grey_model), str(tmp_path / "out")
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "scan.nii.gz")
    whole = (tmp_path / "scan.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no volume" * 100))
    colours = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii")
    (tmp_path / "bad.nrrd").write_text("NRRD0004\ntype: short\n")
    good = str(tmp_path / "scan.nii.gz")
    four = str(NIBABEL / "functional.nii")
    cases: list[tuple[list[str], tuple[str, ...]]] = [
        ([four], ("four dimensions (17 x 21 x 3 x 20)", "--t, 0 to 19")),
        ([four, "--t", "20"], ("--t is 20", "has 20 volumes")),
        ([good, "--t", "1"], ("--t is 1", "three dimensions")),
        ([str(tmp_path / "rgb.nii")], ("holds colours (R, G, B)",)),
        ([str(tmp_path / "cut.nii.gz")], ("ends early or is damaged",)),
        ([str(tmp_path / "text.nii.gz")], ("is not a NIfTI volume",)),
        ([str(tmp_path / "none.nii.gz")], ("no such file",)),
        ([str(tmp_path / "bad.nrrd")], ("NRRD",)),
        ([good, "--axis", "up"], ("--axis is 'up'", "sagittal, coronal, axial")),
        ([good, "--neighbours", "2"], ("5 neighbouring slices are read", "takes 1 band ")),
        ([good, "--format", "cog"], ("--format names cog", "of a volume choose among zarr")),
        ([good, "--format", "dicom-seg"], ("DICOM series", "use nifti")),
        ([good, "--roi", "0,0,1,1"], ("--roi has 4 numbers", "MINZ")),
        ([good, "--roi", "90,90,90,95,95,95"], ("outside the volume", "-0.5,-0.5,-0.5,39.5,35.5,5.5")),
        ([good, "--level", "1"], ("--level is 1",)),
        ([good, "--aoi", "x.geojson"], ("--aoi",)),
        ([good, "--memory", "300MB"], ("--memory allows 300 MB",)),
    ]
    for words, expected in cases:
        refused(["run", *words, "--model", model, "--out", out, "--precision", "fp32"], *expected)
    refused(["run", good, "--model", str(small_model), "--out", out], "1 value per voxel is read")


@pytest.mark.parametrize(("encoding", "whole"), [("ascii", 2 * 2 * 40 * 50 * 6), ("gzip", 0)])
def test_plan_counts_a_volume_that_is_read_whole(
    encoding: str, whole: int, grey_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"space": "right-anterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    values = np.ones((40, 50, 6), np.int16)
    nrrd.write(str(tmp_path / "scan.nrrd"), values, {**place, "encoding": encoding})
    words = ["plan", str(tmp_path / "scan.nrrd"), "--model", str(grey_model), "--json"]
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["memory"]["volume"] == 4 * values.nbytes + whole


def test_plan_and_info_of_a_volume(grey_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = describe_source(str(NIBABEL / "example4d.nii.gz"))
    assert document["orientation"] == "LAS"
    assert document["times"] == 2
    assert document["slices"] == {"sagittal": 128, "coronal": 96, "axial": 24}
    arguments = [
        "plan",
        str(NIBABEL / "anatomical.nii"),
        "--model",
        str(grey_model),
        "--axis",
        "all",
        "--json",
    ]
    assert run_command_line(arguments) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["tiles"] == 25 + 41 + 33
    assert "25 slices of 41 x 33 voxels, axial, coronal, sagittal" in plan["summary"]["source"]
    assert plan["memory"]["volume"] == 4 * 2 * 33 * 41 * 25, "it is so small that all slices are held"


def test_evaluate_counts_what_numpy_counts(
    grey_model: Path, run_on: Call, scan: Call, tmp_path: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "scan.nii")
    run_on(tmp_path / "scan.nii", grey_model, tmp_path / "out", axis="coronal")
    mask = np.asarray(nibabel.load(tmp_path / "out" / "classes.nii.gz").dataobj)
    truth = np.random.default_rng(5).integers(0, 3, mask.shape).astype(np.uint8)
    turned = nibabel.Nifti1Image(truth[::-1, :, ::-1].transpose(2, 0, 1), _turned_affine(truth.shape))
    nibabel.save(turned, tmp_path / "truth.nii.gz")
    document = evaluate(tmp_path / "out", TruthSettings(str(tmp_path / "truth.nii.gz")), slices=(10, 20))
    mapped, true = mask[:, 10:21], truth[:, 10:21]
    counts = np.array(
        [[((true == row) & (mapped == column)).sum() for column in range(3)] for row in range(3)]
    )
    assert document["confusion"]["counts"] == counts.tolist()
    nibabel.save(nibabel.Nifti1Image(truth, np.diag([1, 1, 2, 1])), tmp_path / "other.nii")
    with pytest.raises(SegmentTilesError, match="must be on the same grid"):
        evaluate(tmp_path / "out", TruthSettings(str(tmp_path / "other.nii")))
    with pytest.raises(SegmentTilesError, match="the map has 0 to 35"):
        evaluate(tmp_path / "out", TruthSettings(str(tmp_path / "truth.nii.gz")), slices=(30, 36))


def test_polygons_of_a_volume_are_refused(
    grey_model: Path, run_on: Call, scan: Call, refused: Call, tmp_path: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), np.eye(4)), tmp_path / "scan.nii")
    run_on(tmp_path / "scan.nii", grey_model, tmp_path / "out")
    out = str(tmp_path / "out")
    refused(["polygonize", out, "--out", str(tmp_path / "p.gpkg")], "class map of a volume")
    refused(["export", out, "--format", "cog"], "--format names cog")


@pytest.mark.shared
def test_brain_tissue_scores_as_its_page_says(shared_data: Path, tmp_path: Path) -> None:
    """Dice through the command line's evaluate = Dice by NumPy, and what docs/volumes.md says.

    The package says 0.8966 and 0.9067: of a sheet of slices, where edges of tiles fall on most of them
    (benchmarks/accuracy/brain_tiles.py).
    """
    folder = shared_data / "brain"
    slab = "-98.5,-134.5,12.5,98.5,98.5,32.5"
    assert run_command_line(
        ["run", str(folder / "t1.nii.gz"), "--model", "brain-tissue", "--out", str(tmp_path / "out"), f"--roi={slab}",
         "--precision", "fp32", "--device", "cpu", "--quiet"]
    ) == 0  # fmt: skip
    truth = f"grey matter={folder / 'gm.nii.gz'},white matter={folder / 'wm.nii.gz'}"
    document = evaluate(
        tmp_path / "out", TruthSettings(truth, unlabelled="other"), slices=(85, 104), boundary_widths=(1,)
    )
    mask = np.asarray(nibabel.load(tmp_path / "out" / "classes.nii.gz").dataobj)
    grey, white = (
        np.asarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)[:, :, 85:105].astype(np.float32) / 255
        for name in ("gm", "wm")
    )
    true = np.argmax([grey, white, 1 - (grey + white)], axis=0)
    for place, (name, code, expected) in enumerate((("grey matter", 1, 0.8925), ("white matter", 2, 0.9011))):
        mine, theirs = mask == code, true == place
        dice = 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())
        assert document["classes"][name]["dice"] == pytest.approx(dice, abs=1e-6)
        assert dice == pytest.approx(expected, abs=0.001)


def test_the_demo_volume_ships_with_its_notice() -> None:
    notice = DEMOS["brain"].sample.with_name("mni_icbm152_t1_slab.NOTICE.txt").read_text()
    assert "Louis Collins" in notice
    assert "copyright notice appear in all copies" in " ".join(notice.split())
    assert DEMOS["brain"].sample.stat().st_size < 2_000_000
    assert nibabel.load(DEMOS["brain"].sample).shape == (181, 206, 64)


def test_demo_brain_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["demo", "brain", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for word in ("preview.png", "classes.nii.gz", "not for diagnosis", "Louis Collins"):
        assert word in printed
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    tissue = {entry["name"]: entry["volume_ml"] for entry in report["classes"]}
    assert 600 < tissue["grey matter"] < 800, "of a slab of an adult brain"
    assert 300 < tissue["white matter"] < 500
    assert open_store(tmp_path / "out" / "classes.zarr")["classes"].shape == (64, 206, 181)
    assert run_command_line(["demo", "liver", "--out", str(tmp_path / "none")]) == 2
