"""Folders that are sent: what is read of them is brought, checked and kept; what is damaged is sent again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.outputs.stores.sent_folder import (
    FILES,
    SentFolder,
    files_of,
    forget_brought,
    send_files,
    taken_traffic,
)
from segment_tiles.pipeline.places.address import place_at

pytest.importorskip("obstore", reason="needs the extra object-store")
NUMBERS = count()
PREFIX = ".segment-tiles/files/1/mask"
VALUES = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An array of four shards, one of which is all fill value."""
    path = tmp_path / "array.zarr"
    array = zarr.create_array(path, shape=(8, 8), shards=(4, 4), chunks=(2, 2), dtype="uint8", fill_value=0)
    array[:] = VALUES
    array[4:, 4:] = 0
    return path


@pytest.fixture
def send(folder: Path) -> Callable[..., SentFolder]:
    """Sends the array into one place."""
    address = f"memory://sent-{next(NUMBERS)}/maps"

    def sent(**changes: Any) -> SentFolder:
        files: Mapping[str, Path] = files_of(folder)
        checksum = send_files(place_at(address), PREFIX, files, lambda: None)
        return SentFolder(**{"address": address, "prefix": PREFIX, "checksum": checksum, **changes})

    return sent


def opened(sent: SentFolder) -> Any:
    forget_brought()
    return zarr.open_array(sent.zarr_store(), mode="r")


def requests() -> int:
    return taken_traffic().requests


def test_what_is_read_is_brought_once(send: Callable[..., SentFolder], folder: Path) -> None:
    array = opened(send())
    requests()
    np.testing.assert_array_equal(array[:4, :4], VALUES[:4, :4])
    assert requests() == 1
    assert not array[4:, 4:].any()
    assert requests() == 0
    np.testing.assert_array_equal(array[:], zarr.open_array(folder, mode="r")[:])
    assert requests() == 2
    np.testing.assert_array_equal(array[2:6, 1:7], zarr.open_array(folder, mode="r")[2:6, 1:7])
    assert requests() == 0


def test_all_of_it_is_a_folder(send: Callable[..., SentFolder], folder: Path) -> None:
    forget_brought()
    here = send().whole()
    files = files_of(folder)
    assert {name: path.read_bytes() for name, path in files_of(here).items()} == {
        name: path.read_bytes() for name, path in files.items()
    }
    forget_brought()
    assert not here.exists()


def test_it_is_sent_once(send: Callable[..., SentFolder]) -> None:
    sent = send()
    place = place_at(sent.address)
    before = {key: place.read(key) for key in place.list()}
    assert send() == sent
    assert {key: place.read(key) for key in place.list()} == before
    place.delete(f"{PREFIX}/index.json")
    place.put(f"{PREFIX}/{FILES}/c/0/1", b"cut")
    assert send() == sent
    assert opened(sent)[0, 7] == 7


def test_what_is_damaged_is_refused_and_sent_again(send: Callable[..., SentFolder]) -> None:
    sent = send()
    place, key = place_at(sent.address), f"{PREFIX}/{FILES}/c/0/0"
    found = place.read(key)
    assert found is not None
    place.put(key, found.data[:-1] + bytes([found.data[-1] ^ 1]))
    array = opened(sent)
    with pytest.raises(PlaceError, match=r"c/0/0: is damaged; start the same command again"):
        array[0, 0]
    send()
    assert array[1, 1] == 9


@pytest.mark.parametrize("changes", [{"checksum": "0" * 64}, {"prefix": "nowhere"}])
def test_another_index_or_none_is_refused(send: Callable[..., SentFolder], changes: dict[str, str]) -> None:
    with pytest.raises(PlaceError, match=r"index\.json: (is not what was sent|is gone)"):
        opened(send(**changes))
