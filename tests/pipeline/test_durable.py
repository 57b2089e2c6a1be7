"""Content, then name, then folder: what reaches the disk, and in which order."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from segment_tiles.pipeline import durable
from segment_tiles.pipeline.durable import (
    put_in_place,
    remove_leftovers,
    sync_folder,
    write_whole,
)
from segment_tiles.pipeline.outputs.finished_file import finished_file


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the program asks the system for: syncs with the name of what is synced, and renames."""
    asked: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.replace

    def recorded_sync(handle: int) -> None:
        asked.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        sync(handle)

    def recorded_rename(self: Path, target: Path) -> Path:
        asked.append(("rename", Path(target).name))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_rename)
    return asked


def test_a_name_comes_after_its_content_and_before_its_folder(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    write_whole(tmp_path / "run.json", "{}")
    (_, partial), *rest = calls
    assert partial.endswith(".partial")
    assert rest == [("rename", "run.json"), ("sync", tmp_path.name)]


def test_a_folder_is_whole_before_it_has_its_name(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with finished_file(tmp_path / "a.zarr") as partial:
        (partial / "c").mkdir(parents=True)
        (partial / "c" / "0").write_bytes(b"1")
    names = [name for _, name in calls]
    assert names == ["0", "c", "a.zarr", "a.zarr", tmp_path.name]
    assert calls[3] == ("rename", "a.zarr")


def test_a_folder_takes_the_name_of_an_older_one(tmp_path: Path) -> None:
    for content in ("older", "newer"):
        with finished_file(tmp_path / "a.zarr") as partial:
            partial.mkdir()
            (partial / content).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zarr", "newer"]


def test_a_file_that_cannot_be_synced_does_not_get_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    target = tmp_path / "a"
    target.write_text("older")
    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(target, "newer")
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(durable.os, "fsync", fail)
    sync_folder(tmp_path)


def test_leftovers_go_and_the_rest_stays(tmp_path: Path) -> None:
    for name in (".a.zarr.partial/a.zarr/c/0", "b.zarr/c/1f.partial", "b.zarr/c/1", ".run.json.7-8.partial"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["b.zarr/c/1"]


def test_a_link_that_has_the_name_is_replaced_and_what_it_names_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "new").write_text("1")
    put_in_place(tmp_path / "new", tmp_path / "link")
    assert (tmp_path / "link").read_text() == "1"
    assert (tmp_path / "elsewhere").is_dir()
