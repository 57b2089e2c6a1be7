"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segment_tiles.pipeline.errors import WriteFailedError
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.finished_file import (
    finished_file,
    finished_files,
    make_output_folder,
    write_failed,
)


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    make_output_folder(target.parent)
    with finished_file(target) as partial:
        partial.write_text("whole")
        assert partial.name == target.name
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with (
        pytest.raises(WriteFailedError, match="its folder is not there any more"),
        finished_file(folder / "item.json"),
    ):
        pytest.fail("nothing can be written")
    make_output_folder(folder)
    writing = finished_file(folder / "item.json")
    writing.__enter__().write_text("whole")
    shutil.rmtree(folder)
    with pytest.raises(WriteFailedError, match="its folder is not there any more"):
        writing.__exit__(None, None, None)
    assert not folder.exists()


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_the_older_file_stays_where_the_block_fails(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("older")

    def fail_halfway() -> None:
        with finished_file(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert target.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_two_processes_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with finished_file(target) as first, finished_file(target) as second:
        second.write_text("second")
        first.write_text("first")
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = [
        f".a.txt.{platform.node()}-{dead.pid}-0123abcd.partial",
        ".a.txt.partial",
        ".a.txt.node-7-77-old.partial",
        # of a process before a power cut, whose number this one has got
        f".a.txt.{platform.node()}-{os.getpid()}-0123abcd.partial",
    ]
    kept = [
        f".a.txt.{platform.node()}-{os.getppid()}-0123abcd.partial", ".a.txt.node-7-77-new.partial",
        f".a.txt.more.{platform.node()}-{dead.pid}-0123abcd.partial", ".a.txt2.partial",
    ]  # fmt: skip
    for name in (*left, *kept):
        (tmp_path / name / "a").mkdir(parents=True)
    os.utime(tmp_path / ".a.txt.node-7-77-old.partial", (0, 0))
    with finished_file(tmp_path / "a.txt") as ours, finished_file(tmp_path / "a.txt") as partial:
        ours.write_text("of another thread, which stays")
        partial.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a.txt"])


def test_files_of_one_result_change_together(tmp_path: Path) -> None:
    first, second = tmp_path / "a.aux", tmp_path / "a.tif"
    for path in (first, second):
        path.write_text("older")

    def fail_after_the_first() -> None:
        with finished_files(first, second) as (one, _):
            one.write_text("newer")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteFailedError):
        fail_after_the_first()
    assert (first.read_text(), second.read_text()) == ("older", "older")
    with finished_files(first, second) as (_, two):
        two.write_text("newer")
    assert not first.exists()  # nothing was written for it, and the older one is of the older result
    assert second.read_text() == "newer"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free space"),
        (errno.EDQUOT, "the disk is full; free space"),
        (errno.EROFS, "writing there is not allowed; make the folder writable"),
        (errno.EIO, "MB are free"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, number: int, words: str) -> None:
    text = str(write_failed(tmp_path / "a.tif", OSError(number, "a\nb")))
    assert text.startswith(f"{tmp_path / 'a.tif'}: cannot be written: ")
    assert words in text
    assert text.endswith("then start the same command again")
    assert "\n" not in text


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 600 kB, where mounting is allowed."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(mount_point)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def test_a_real_disk_that_is_full_then_read_only(make_store, tiny_disk: Path) -> None:
    group = make_store(np.random.default_rng(0).integers(0, 3, (1500, 1500), dtype=np.uint8))
    target = tiny_disk / "classes.tif"
    with pytest.raises(WriteFailedError, match="the disk is full; free space"):
        write_cog(group, target)
    assert [path.name for path in tiny_disk.iterdir()] == ["classes.qml"], "the style, whole, comes first"
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(WriteFailedError, match="not allowed; make the folder writable"):
        write_cog(group, target)
