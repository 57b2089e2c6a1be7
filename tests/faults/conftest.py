"""A file system of its own that loses its power at a chosen moment."""

from __future__ import annotations

import array
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN of Linux: from this call on nothing reaches the device."""
WITHOUT_LOG = 2
"""Not even what the journal holds in memory."""
OPTIONS = "loop,data=writeback,noauto_da_alloc,commit=300"
"""The least that ext4 promises: a rename may reach the disk before the content of the file, and nothing is written
by itself within the time of a test."""
WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


class Disk:
    """An ext4 in a file, mounted in a loop device, whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(96 * 2**20)
        self._call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self._mount()

    def cut(self) -> None:
        """Cut the power: what was not on the disk yet is lost, and every write fails."""
        import fcntl

        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, array.array("I", [WITHOUT_LOG]))
        finally:
            os.close(handle)

    def switch_on(self) -> None:
        """Mount what the disk has, by its journal."""
        self.close()
        self._mount()

    def _mount(self) -> None:
        self._call("mount", "-o", OPTIONS, str(self._image), str(self.path))

    def close(self) -> None:
        """Unmount it."""
        gc.collect()  # readers that were left open by an error
        self._call("umount", str(self.path))

    @staticmethod
    def _call(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)


class PowerCut:
    """Counts what this process writes below a folder, and cuts the power at the chosen call."""

    def __init__(self) -> None:
        self.calls = 0
        self._folder = "\0"
        self._at: int | None = None
        self._cut: Callable[[], None] = lambda: None
        sys.addaudithook(self._heard)

    def arm(self, disk: Disk, at: int | None) -> None:
        """Begin to count; at None nothing happens."""
        self.calls, self._folder, self._at, self._cut = 0, str(disk.path), at, disk.cut

    def disarm(self) -> None:
        """Stop counting; an audit hook cannot be taken back."""
        self._folder = "\0"

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in WRITES:
            return
        if not str(arguments[0]).startswith(self._folder):
            return
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        self.calls += 1
        if self.calls == self._at:
            self._folder = "\0"
            self._cut()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a disk, where this machine lets a test mount one."""
    if (
        sys.platform != "linux"
        or os.geteuid()
        or not all(map(shutil.which, ("mkfs.ext4", "mount", "umount")))
    ):
        pytest.skip("a file system of its own needs Linux, root and mkfs.ext4")
    try:
        made = Disk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device can be mounted here: {error.stderr.decode().strip()}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def power_cut() -> PowerCut:
    """Count and cut, in this process."""
    return PowerCut()
