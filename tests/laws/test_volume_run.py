"""Laws that only volumes have: readers, batches over slices, the place of a part, three directions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.regions.region_work import do_region
from segment_tiles.workflows.run.segment import segment

Call = Callable[..., Any]
ARRAYS = ("classes", "confidence")
"""What every reader gives the same bytes of; the attributes of the store name the file."""
SHAPE = (70, 60, 40)
"""Voxels i x j x k; axial slices take two tiles of 64."""


class FirstTasks(InProcess):
    """Does two Slabs and dies."""

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        for task in tasks[:2]:
            do_region(task, progress)
        raise ConnectionAbortedError


@pytest.fixture(scope="module")
def affine() -> NDArray[np.float64]:
    """Oblique, anisotropic, and mirrored from left to right."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix() @ np.diag(
        [-1.1, 0.9, 2.5]
    )
    affine[:3, 3] = [31.5, -42.25, 17.0]
    return affine


@pytest.fixture(scope="module")
def volume(
    voxels: NDArray[np.int16], affine: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("volume") / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def config(source: Path, model: Path, out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"precision": "fp32", "device": "cpu", "formats": ("zarr",), **changes}
    return RunConfig(str(source), str(model), out, **settings)


@pytest.fixture(scope="module")
def whole_run(quiet: Any, volume: Path, grey_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(config(volume, grey_model, out), quiet)
    assert quiet.plan.tiles == 2 * 40
    group = open_store(out / "classes.zarr")
    assert group["classes"].shape == (40, 60, 70)
    shares = np.bincount(group["classes"][:].ravel()) / np.prod(SHAPE)
    assert (shares > 0.05).sum() == 3, "a map of one class would prove nothing"
    return out


def test_the_batch_runs_on_over_slices_and_changes_little_but_rounding(
    quiet: Any, whole_run: Path, volume: Path, grey_model: Path, tmp_path: Path
) -> None:
    """A batch of 7 tiles takes in parts of three slices; other batch sizes are other kernels of convolution."""
    segment(config(volume, grey_model, tmp_path, batch=7), quiet)
    first, second = (open_store(out / "classes.zarr")["confidence"][:] for out in (tmp_path, whole_run))
    assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.parametrize("reader", ["nrrd", "dicom", "uncompressed", "big-endian"])
def test_other_readers_give_the_same_bytes(
    quiet: Any,
    bytes_of: Call,
    reader: str,
    whole_run: Path,
    voxels: NDArray[np.int16],
    affine: NDArray[np.float64],
    grey_model: Path,
    write_series: Call,
    tmp_path: Path,
) -> None:
    if reader == "nrrd":
        path = tmp_path / "volume.nrrd"
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        header = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
        }
        nrrd.write(str(path), voxels, header)
    elif reader == "dicom":
        path = write_series(tmp_path / "series", voxels, affine)
    else:
        path = tmp_path / "volume.nii"
        header = nibabel.Nifti1Header(endianness=">" if reader == "big-endian" else "<")
        header.set_data_dtype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, affine, header), path)
    segment(config(path, grey_model, tmp_path / "out"), quiet)
    assert bytes_of(tmp_path / "out" / "classes.zarr", *ARRAYS) == bytes_of(
        whole_run / "classes.zarr", *ARRAYS
    )
    # slices of a series are stored along their normal, so that k may count the other way
    places = [
        open_store(out / "classes.zarr").attrs["segment_tiles"]["slice_row_column_to_ras_mm"]
        for out in (tmp_path / "out", whole_run)
    ]
    np.testing.assert_allclose(*places, atol=1e-4)


def test_the_mask_of_a_roi_lies_in_its_place(
    quiet: Any, voxels: NDArray[np.int16], grey_model: Path, tmp_path: Path
) -> None:
    """Voxels i 20 to 59, j 11 to 49, k 5 to 16; edges in millimetres lie half a step before and after the centres."""
    path = tmp_path / "straight.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-2.0, 1.5, 3.0, 1.0])), path)
    roi = (-2.0 * 59.5, 1.5 * 10.5, 3.0 * 4.5, -2.0 * 19.5, 1.5 * 49.5, 3.0 * 16.5)
    segment(config(path, grey_model, tmp_path / "part", roi=roi, formats=("nifti",)), quiet)
    mask = nibabel.load(tmp_path / "part" / "classes.nii.gz")
    assert mask.shape == (40, 39, 12)
    np.testing.assert_array_equal(mask.affine[:3, 3], [-40.0, 16.5, 15.0])
    report = json.loads((tmp_path / "part" / "report.json").read_text())
    assert sum(entry["volume_ml"] for entry in report["classes"]) == pytest.approx(40 * 39 * 12 * 9 / 1000)


@pytest.mark.slow
def test_three_directions_are_averaged(
    quiet: Any,
    volume: Path,
    grey_model: Path,
    smallest_pieces: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The class of the result is that of the highest mean of the three, in the same voxel, as they are alone."""
    total = np.zeros((3, *SHAPE), dtype=int)
    for axis in ("axial", "coronal", "sagittal"):
        out = tmp_path / axis
        segment(config(volume, grey_model, out, axis=axis, scores=True), quiet)
        group = open_store(out / "classes.zarr")
        own = group.attrs["segment_tiles"]["volume"]["slicing"]
        for code in range(3):
            view = group["scores"][code]
            steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in own["flipped"])
            total[code] += view[steps].transpose([own["order"].index(i) for i in range(3)])
    out = tmp_path / "all"
    asked = config(volume, grey_model, out, axis="all", formats=("zarr", "nifti"))
    with pytest.raises(ConnectionAbortedError):
        segment(asked, quiet, FirstTasks())
    with monkeypatch.context() as patch:
        patch.setattr(
            "segment_tiles.workflows.scenes.volumes.stores.copy_voxels",
            lambda *_: pytest.fail("it was read again"),
        )
        report = segment(asked, quiet, smallest_pieces).report
    assert report["tiles"]["computed"] < report["tiles"]["planned"], "what was done before is not done again"
    assert smallest_pieces.pieces == 40 + 60 + 70
    mask = np.asarray(nibabel.load(out / "classes.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, total.argmax(axis=0))
    assert not list((out / ".segment-tiles").glob("*.zarr")), "scores of the directions and the copy are gone"


def test_a_restart_reads_the_volume_that_is_there_now(
    quiet: Any, bytes_of: Call, voxels: NDArray[np.int16], grey_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    with pytest.raises(ConnectionAbortedError):
        segment(config(path, grey_model, tmp_path / "out"), quiet, FirstTasks())
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels[::-1]), np.eye(4)), path)
    segment(config(path, grey_model, tmp_path / "out", restart=True), quiet)
    segment(config(path, grey_model, tmp_path / "new"), quiet)
    again, new = (bytes_of(tmp_path / name / "classes.zarr", *ARRAYS) for name in ("out", "new"))
    assert again == new
