"""A folder is listed again whenever it may have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.sources.versions import folder_listing
from segment_tiles.pipeline.sources.versions.folder_listing import FolderListing, listing_of


def names_in(folder: Path) -> dict[str, list[str]]:
    return dict(listing_of(folder).names)


def age(folder: Path, seconds: float = 60.0) -> None:
    """Make a folder as old as one that nobody writes into."""
    then = folder.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(folder, ns=(then, then))


def test_a_folder_that_stays_as_it_is_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "A.tif").touch()
    (tmp_path / "a.TIF").touch()
    age(tmp_path)
    assert {name: set(found) for name, found in names_in(tmp_path).items()} == {"a.tif": {"A.tif", "a.TIF"}}

    def fails(_: Path) -> None:
        raise AssertionError("it was listed again")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", fails)
        assert set(names_in(tmp_path)) == {"a.tif"}
    (tmp_path / "a.tfw").touch()
    assert set(names_in(tmp_path)) == {"a.tif", "a.tfw"}
    (tmp_path / "a.tfw").unlink()
    assert set(names_in(tmp_path)) == {"a.tif"}, (
        "one that has just changed is listed again: its time may stand still"
    )


def test_it_does_not_grow_and_what_cannot_be_listed_has_no_names(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        age(folder)
        assert names_in(folder) == {}
    assert len(folder_listing._KNOWN) <= folder_listing.FOLDERS_AT_MOST
    assert names_in(tmp_path / "none") == {}


@given(
    st.sets(st.text("ab.-", min_size=1, max_size=4).filter(lambda name: name.strip(".")), max_size=12),
    st.text("ab.-"),
)
def test_names_that_begin_alike_are_found_without_the_others(names: set[str], start: str) -> None:
    listing = FolderListing({name: [name] for name in names}, tuple(sorted(names)), frozenset())
    assert list(listing.beginning_with(start)) == sorted(name for name in names if name.startswith(start))


def test_what_may_be_metadata(tmp_path: Path) -> None:
    for name in ("a.tif", "b.TIF", "MTD.XML", "notes"):
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    assert listing_of(tmp_path).may_be_metadata == {"mtd.xml", "notes"}
