"""Volumes in blocks: whatever the block, the values are those of a file that is read whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, WriteFailedError
from segment_tiles.pipeline.grid.volume import Slicing, VolumeSpec, as_matrix
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.finished_file import finished_file
from segment_tiles.pipeline.sources.volumes import volume as volumes
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.slices import open_slices
from segment_tiles.pipeline.sources.volumes.volume import block_depth, read_volume, read_volume_spec
from segment_tiles.pipeline.sources.volumes.voxel_copy import VolumeFile, copy_voxels, open_voxels

Write = Callable[[Path], Path]
SHAPE = (70, 9, 11)
NRRD_HEADER: dict[str, Any] = {
    "space": "right-anterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)
}  # fmt: skip


@pytest.fixture(scope="module")
def values() -> NDArray[np.int16]:
    return np.random.default_rng(5).integers(-3000, 3000, SHAPE).astype(np.int16)


def nifti(path: Path, values: NDArray[Any], order: str = "<") -> Path:
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(values.dtype)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), header), path)
    return path


def other_nrrd(path: Path, values: NDArray[Any], **header: Any) -> Path:
    """Write NRRD; of `detached` the header alone lies under the path."""
    name = path.with_suffix(".nhdr" if header.pop("detached", False) else ".nrrd")
    nrrd.write(str(name), values, {**NRRD_HEADER, **header}, detached_header=name.suffix == ".nhdr")
    return name


WRITERS: dict[str, Callable[[Path, NDArray[Any]], Path]] = {
    "nifti": lambda path, values: nifti(path.with_suffix(".nii"), values),
    "nifti gz": lambda path, values: nifti(path.with_suffix(".nii.gz"), values),
    "nifti big-endian": lambda path, values: nifti(path.with_suffix(".nii"), values, ">"),
    "nrrd raw": lambda path, values: other_nrrd(path, values, encoding="raw"),
    "nrrd gzip": lambda path, values: other_nrrd(path, values, encoding="gzip"),
    "nrrd bzip2": lambda path, values: other_nrrd(path, values, encoding="bzip2"),
    "nrrd text": lambda path, values: other_nrrd(path, values, encoding="ascii"),
    "nrrd detached": lambda path, values: other_nrrd(path, values, encoding="gzip", detached=True),
    "nrrd big-endian": lambda path, values: other_nrrd(path, values.astype(">i2"), encoding="raw"),
}


@pytest.fixture(params=[*WRITERS, "dicom"])
def written(
    request: pytest.FixtureRequest,
    values: NDArray[np.int16],
    write_series: Callable[..., Path],
    tmp_path: Path,
) -> Path:
    if request.param == "dicom":
        return write_series(tmp_path / "series", values, np.eye(4))
    return WRITERS[request.param](tmp_path / "volume", values)


@pytest.mark.parametrize("layers", [1, 3, 11])
def test_blocks_of_any_depth_give_the_values(
    written: Path, values: NDArray[np.int16], layers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(volumes, "DEPTH", layers)
    spec = read_volume_spec(str(written), Selection())
    assert block_depth(spec) == layers
    expected = values[np.newaxis]
    if written.is_dir():  # the patient's right and front are the columns and rows of a series
        expected = expected[..., ::-1] if spec.affine[2][2] < 0 else expected
    np.testing.assert_array_equal(read_volume(str(written), Selection()), expected)
    copy_voxels(str(written), Selection(), spec, tmp_path / "copy")
    voxels = open_voxels(tmp_path / "copy")
    np.testing.assert_array_equal(voxels[:, :, :, :], expected)
    part = (slice(0, 1), slice(3, 66), slice(2, None), slice(4, 9))
    np.testing.assert_array_equal(voxels[part], expected[part])
    np.testing.assert_array_equal(VolumeFile(str(written), Selection(), spec)[part], expected[part])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_times_as_channels_in_the_order_asked_for(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=(6, 5, 4, 3)).astype(np.float32)
    path = nifti(tmp_path / f"four{suffix}", values)
    monkeypatch.setattr(volumes, "DEPTH", 2)
    selection = Selection(bands=(3, 1))
    expected = values[..., [2, 0]].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(read_volume(str(path), selection), expected)
    spec = read_volume_spec(str(path), selection)
    part = (slice(1, 2), slice(None), slice(1, 3), slice(1, 4))
    np.testing.assert_array_equal(VolumeFile(str(path), selection, spec)[part], expected[part])


def test_a_scale_is_applied_once_and_rounded_once(tmp_path: Path, values: NDArray[np.int16]) -> None:
    path = nifti(tmp_path / "scaled.nii", values)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.3, -7.7], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    expected = (values * np.float64(np.float32(0.3)) + np.float64(np.float32(-7.7))).astype(np.float32)
    result = read_volume(str(path), Selection())
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[0], expected)


@pytest.mark.parametrize(
    ("data_file", "words"),
    [
        ("LIST", "several files"),
        ("slice%02d.raw 1 6 1", "several files"),
        ("gone.raw", "gone.raw, which is not there"),
        ("short.raw", "short.raw: ends early or is damaged: it has 10 bytes of voxels, 480 are needed"),
    ],
)
def test_nrrd_whose_voxels_cannot_be_read_is_refused_by_its_header(
    tmp_path: Path, data_file: str, words: str
) -> None:
    (tmp_path / "short.raw").write_bytes(b"0123456789")
    (tmp_path / "scan.nhdr").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 6 5\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\nendian: little\n"
        f"data file: {data_file}\n"
    )
    with pytest.raises(SourceError, match=re.escape(words)):
        read_volume_spec(str(tmp_path / "scan.nhdr"), Selection())


def test_nrrd_that_names_no_space_says_what_is_assumed(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "scan.nrrd"), np.ones((4, 4, 4), np.int16), {"space directions": np.eye(3)})
    spec = read_volume_spec(str(tmp_path / "scan.nrrd"), Selection())
    assert any("left-posterior-superior is assumed" in note for note in spec.notes)


@pytest.mark.parametrize("more", [-1, 1])
def test_nrrd_of_another_length_than_its_header_says_is_refused(
    more: int, tmp_path: Path, values: NDArray[np.int16]
) -> None:
    path = other_nrrd(tmp_path / "volume", values, encoding="raw")
    content = path.read_bytes()
    path.write_bytes(content[:-1] if more < 0 else content + b"x")
    with pytest.raises(SourceError, match="ends early or is damaged"):
        read_volume(str(path), Selection())


@given(
    st.permutations(range(3)),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.integers(0, 3),
    st.integers(1, 40),
    st.data(),
)
def test_slices_are_those_of_the_whole_view(
    order: list[int], flipped: tuple[bool, bool, bool], neighbours: int, depth: int, data: st.DataObject
) -> None:
    """Along any axis, in any order, with any neighbours, however many are held together."""
    values = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(1, *SHAPE)
    spec = VolumeSpec(SHAPE, 1, "int32", as_matrix(np.eye(4)))
    slicing = Slicing(2, (order[0], order[1], order[2]), flipped)
    view = slicing.view(values)
    count = view.shape[1]
    numbers = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segment_tiles.pipeline.sources.volumes.slices.DEPTH", depth)
        sources = open_slices(values, spec, slicing, numbers, neighbours=neighbours)
        for number, source in zip(numbers, sources, strict=True):
            around = np.clip(np.arange(number - neighbours, number + neighbours + 1), 0, count - 1)
            whole = Window(0, 0, source.spec.height, source.spec.width)
            np.testing.assert_array_equal(source.read(whole), view[0, around])


def test_a_full_disk_leaves_no_copy(
    values: NDArray[np.int16], full_disk: Callable[..., Any], tmp_path: Path
) -> None:
    path = nifti(tmp_path / "volume.nii", values)
    spec = read_volume_spec(str(path), Selection())
    with full_disk(5_000) as limit:
        limit()
        with pytest.raises(WriteFailedError), finished_file(tmp_path / "voxels.zarr") as partial:
            copy_voxels(str(path), Selection(), spec, partial)
    assert [left.name for left in tmp_path.iterdir()] == ["volume.nii"]
