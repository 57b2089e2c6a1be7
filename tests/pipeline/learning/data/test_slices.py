"""Slices of a volume as a sheet, and its labels from class probabilities."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.slices import open_sheet
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE

NAMES = ("other", "grey", "white")
SHAPE = (7, 9, 12)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    random = np.random.default_rng(2)
    for name in ("t1", "gm", "wm"):
        values = random.integers(0, 256 if name == "t1" else 128, SHAPE).astype(np.uint8)
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
    return tmp_path


def scene_of(folder: Path, **slices: object) -> LabelledScene:
    settings = SceneSettings.model_validate(
        {
            "name": "head",
            "raster": "t1.nii.gz",
            "unlabelled": "other",
            "slices": {"gap": 3, "label_probabilities": {"grey": "gm.nii.gz", "white": "wm.nii.gz"}} | slices,
        }
    )
    return LabelledScene(settings, folder, NAMES)


def stored(folder: Path, name: str) -> np.ndarray:
    return np.asanyarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)


@pytest.mark.parametrize(("axis", "number"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_each_slice_lies_on_the_sheet_the_right_way_up(volumes: Path, axis: str, number: int) -> None:
    scene = scene_of(volumes, axis=axis)
    assert scene.settings.slices is not None
    _, layout = open_sheet(str(volumes / "t1.nii.gz"), scene.settings.slices)
    for position in (0, 3):
        (window,) = layout.windows_of(position, position)
        seen = scene.read(window, with_held_out=True)
        assert (seen.values[0] == np.take(stored(volumes, "t1"), position, axis=number).T[::-1]).all()
        assert seen.valid.all()


def test_labels_are_the_most_probable_class(volumes: Path) -> None:
    scene = scene_of(volumes)
    grey, white = (stored(volumes, name)[:, :, 0].astype(int) for name in ("gm", "wm"))
    shares = np.array([255 - grey - white, grey, white]).transpose(0, 2, 1)[:, ::-1]
    second, first = np.sort(shares, axis=0)[1:]
    clear = first > second
    whole = scene.read(scene.window, with_held_out=True).labels
    assert clear.mean() > 0.9
    assert (whole[:9] == shares.argmax(axis=0))[clear].all()
    assert (whole[9:12] == IGNORE_CODE).all()  # the gap


def test_the_slab_and_its_guard_are_hidden(volumes: Path) -> None:
    scene = scene_of(volumes, held_out=[4, 6], guard=2)
    assert len(scene.held_out) == 3
    hidden = scene.read(scene.window, with_held_out=False).labels
    step = 9 + 3
    for number in range(12):
        rows = hidden[number * step : number * step + 9]
        assert (rows == IGNORE_CODE).all() == (2 <= number <= 8)


def test_slices_that_are_not_there_are_refused(volumes: Path) -> None:
    with pytest.raises(TrainingError, match="it has 0 to 11 axial"):
        scene_of(volumes, first=5, last=12)


def test_a_file_that_is_no_volume_is_refused(volumes: Path) -> None:
    (volumes / "gm.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(TrainingError, match="cannot be read as a volume"):
        scene_of(volumes)
