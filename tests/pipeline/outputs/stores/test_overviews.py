"""Overviews: laws of the mode and the mean, and the levels of a store."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.stores.conventions import group_attributes
from segment_tiles.pipeline.outputs.stores.overviews import (
    build_overviews,
    mean_of_four,
    mode_of_four,
    overview_shapes,
)
from segment_tiles.pipeline.outputs.stores.store import array_of, read_georef

NODATA = 255
four_codes = arrays(np.uint8, (4,), elements=st.sampled_from([0, 1, 2, 3, NODATA]))
even_maps = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda half: arrays(np.uint8, (2 * half[0], 2 * half[1]), elements=st.sampled_from([0, 1, 2, 7, NODATA]))
)


@pytest.mark.parametrize(
    ("four", "expected"),
    [
        ([[1, 1], [1, 2]], 1),
        ([[2, 1], [1, 1]], 1),
        ([[1, 2], [2, 1]], 2),  # a tie: the one that has both votes first in reading order
        ([[2, 1], [1, 2]], 1),
        ([[1, 2], [1, 2]], 1),
        ([[3, 0], [3, 0]], 3),  # not the smallest code
        ([[3, 3], [0, 0]], 3),
        ([[1, 2], [3, 3]], 3),
        ([[1, 2], [3, 0]], 1),
        ([[NODATA, NODATA], [NODATA, 2]], 2),  # nodata has no vote
        ([[NODATA, 2], [3, NODATA]], 2),
        ([[NODATA, NODATA], [NODATA, NODATA]], NODATA),
    ],
)
def test_mode_of_one_window(four: list[list[int]], expected: int) -> None:
    result = mode_of_four(np.array(four, np.uint8), NODATA)
    assert result.dtype == np.uint8
    assert result.tolist() == [[expected]]


@given(four_codes)
def test_mode_is_one_of_the_four_and_no_class_has_more_votes(four: np.ndarray) -> None:
    result = int(mode_of_four(four.reshape(2, 2), NODATA)[0, 0])
    assert result in four
    classes = [int(code) for code in four if code != NODATA]
    if classes:
        assert classes.count(result) == max(classes.count(code) for code in classes)
    else:
        assert result == NODATA


@given(even_maps)
def test_windows_do_not_influence_each_other(codes: np.ndarray) -> None:
    whole = mode_of_four(codes, NODATA)
    for row, column in np.ndindex(whole.shape):
        window = codes[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert whole[row, column] == mode_of_four(window, NODATA)[0, 0]


@given(even_maps)
def test_nodata_elsewhere_changes_no_window(codes: np.ndarray) -> None:
    """Maps without any are done in another way."""
    codes = np.where(codes == NODATA, 3, codes).astype(np.uint8)
    beside = np.hstack([codes, np.full((codes.shape[0], 2), NODATA, np.uint8)])
    assert np.array_equal(mode_of_four(codes, NODATA), mode_of_four(beside, NODATA)[:, :-1])


@given(even_maps)
def test_relabelling_classes_relabels_the_mode(codes: np.ndarray) -> None:
    """No class is favoured: the rule looks at equality only."""
    relabel = np.arange(256, dtype=np.uint8)
    relabel[[0, 1, 2, 7]] = [7, 0, 1, 2]
    assert np.array_equal(mode_of_four(relabel[codes], NODATA), relabel[mode_of_four(codes, NODATA)])


def test_mode_of_16_bit_codes() -> None:
    codes = np.array([[300, 65535], [301, 301]], np.uint16)
    assert mode_of_four(codes, 65535).tolist() == [[301]]


@given(even_maps, st.integers(0, 2**32 - 1))
def test_mean_is_the_rounded_mean_of_the_valid(codes: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, codes.shape, dtype=np.uint8)
    valid = codes != NODATA
    result = mean_of_four(values, valid)
    for row, column in np.ndindex(result.shape):
        window = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        chosen = values[window][valid[window]].astype(float)
        expected = np.floor(chosen.mean() + 0.5) if chosen.size else 0
        assert result[row, column] == expected


@given(st.integers(1, 300_000), st.integers(1, 300_000), st.integers(1, 2000))
def test_levels_halve_until_both_sides_fit(height: int, width: int, smallest: int) -> None:
    shapes = [(height, width), *overview_shapes(height, width, smallest)]
    for finer, coarser in itertools.pairwise(shapes):
        assert max(finer) > smallest
        assert coarser == (-(-finer[0] // 2), -(-finer[1] // 2))
    assert max(shapes[-1]) <= smallest


def reference_level(classes: np.ndarray) -> np.ndarray:
    """The next level pixel by pixel, by the written rule."""
    height, width = classes.shape
    result = np.empty((-(-height // 2), -(-width // 2)), classes.dtype)
    for row, column in np.ndindex(result.shape):
        window = classes[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist()
        votes = [code for code in window if code != NODATA]
        most = max((votes.count(code) for code in votes), default=0)
        leaders = (code for k, code in enumerate(votes) if votes[: k + 1].count(code) == most)
        result[row, column] = next(leaders, NODATA)
    return result


def test_levels_of_a_store_with_odd_sides_across_shards(make_store) -> None:
    rng = np.random.default_rng(1)
    classes = rng.choice(np.array([0, 1, 2, NODATA], np.uint8), (1061, 1201))
    group = make_store(classes)
    build_overviews(group)
    finer = classes
    shapes = overview_shapes(*classes.shape)
    assert sorted(group.group_keys()) == ["1", "2"]
    for level, shape in enumerate(shapes, 1):
        stored = np.asarray(array_of(group, f"{level}/classes")[:])
        assert stored.shape == shape
        assert np.array_equal(stored, reference_level(finer))
        confidence = np.asarray(array_of(group, f"{level}/confidence")[:])
        assert np.array_equal(confidence == 0, stored == NODATA)
        finer = stored
    assert (
        group.attrs["multiscales"]
        == group_attributes(read_georef(group), (1061, 1201), shapes)["multiscales"]
    )


def test_layout_of_a_finished_store_points_at_what_is_there(make_store) -> None:
    group = make_store(np.ones((1500, 700), np.uint8), georef=GeoRef((0.3, 0.1, 5.0, -0.2, 0.4, 6.0)))
    build_overviews(group)
    for entry in group.attrs["multiscales"]["layout"]:
        level = group if entry["asset"] == "." else group[entry["asset"]]
        for name in ("classes", "confidence"):
            array = level[name]
            assert list(array.shape) == entry["spatial:shape"] == array.attrs["spatial:shape"]
            assert array.attrs["spatial:transform"] == entry["spatial:transform"]
            assert array.shards[0] == group[name].shards[0]


def test_same_store_gives_the_same_bytes_and_a_second_call_changes_nothing(
    make_store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 3, (1100, 900), dtype=np.uint8)

    def digest(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    for name in ("a.zarr", "b.zarr"):
        build_overviews(make_store(classes, name=name))
    first = digest(tmp_path / "a.zarr")
    assert first == digest(tmp_path / "b.zarr")
    build_overviews(zarr.open_group(tmp_path / "a.zarr", mode="r+"))
    assert digest(tmp_path / "a.zarr") == first


def test_a_small_raster_has_no_overviews(make_store) -> None:
    group = make_store(np.zeros((512, 300), np.uint8))
    build_overviews(group)
    assert list(group.group_keys()) == []
    assert len(group.attrs["multiscales"]["layout"]) == 1


def test_of_a_small_raster_nothing_is_written_again(make_store, tmp_path: Path) -> None:
    """It says from the beginning that it has no overviews; one that said otherwise is set right."""
    group = make_store(np.zeros((40, 50), np.uint8))
    document = tmp_path / "classes.zarr" / "zarr.json"
    before, content = document.stat().st_ino, document.read_bytes()
    build_overviews(group)
    assert (document.stat().st_ino, document.read_bytes()) == (before, content)
    two = group_attributes(read_georef(group), (40, 50), [(20, 25)])
    build_overviews(group.update_attributes(two))
    assert document.read_bytes() == content


def test_memory_does_not_grow_with_the_height(make_store) -> None:
    def peak(height: int) -> int:
        group = make_store(np.ones((height, 1024), np.uint8), name=f"{height}.zarr")
        tracemalloc.start()
        build_overviews(group)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    # several threads each hold a shard, as far as they happen to be at work at the same time
    assert peak(32768) < 1.5 * peak(4096)


# A real process whose files cannot grow past a limit: what a full disk does.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from segment_tiles.pipeline.errors import WriteFailedError
from segment_tiles.pipeline.outputs.stores.overviews import build_overviews
from segment_tiles.pipeline.outputs.stores.store import open_store

group = open_store(Path(sys.argv[1]), "r+")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    build_overviews(group)
except WriteFailedError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_disk_that_becomes_full_is_one_line_and_announces_no_levels(make_store, tmp_path: Path) -> None:
    group = make_store(np.random.default_rng(0).integers(0, 3, (1100, 1100), dtype=np.uint8))
    store = tmp_path / "classes.zarr"
    run = subprocess.run([sys.executable, "-c", LIMITED, store], capture_output=True, text=True, check=False)
    assert run.returncode == 7, run.stderr
    assert run.stdout.count("\n") == 1
    assert f"{store}: cannot be written: the disk is full; free space, then start" in run.stdout
    announced = zarr.open_group(store, mode="r").attrs["multiscales"]["layout"]
    assert [entry["asset"] for entry in announced] == ["."]
    build_overviews(group)
    announced = zarr.open_group(store, mode="r").attrs["multiscales"]["layout"]
    assert [entry["asset"] for entry in announced] == [".", "1", "2"]
