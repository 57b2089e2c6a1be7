"""The ledger: a row counts only while its file and its shards are what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.seals import as_plain, seals_of_tree, write_sealed
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import SEALS_BESIDE, create_store, open_store

TABLE = ClassTable((MapClass(0, "a", (0, 0, 0)), MapClass(1, "b", (9, 9, 9))))


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Ledger]:
    """Two rows of shards of three arrays, the second without any class."""
    shape = (600, 700)
    classes = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    classes[512:] = TABLE.nodata
    confidence = np.where(classes == TABLE.nodata, 0, 200).astype(np.uint8)
    group = open_store(
        create_store(tmp_path / "classes.zarr", shape, GeoRef.of_pixels(), TABLE, with_scores=True), "r+"
    )
    ledger = Ledger(tmp_path / "ledger")
    with ShardWriter(group, Window(0, 0, *shape), 0, ledger, TABLE.nodata, TABLE.count) as writer:
        writer.append(FinishedRows(0, classes, confidence, np.stack([confidence, confidence])))
    return tmp_path / "classes.zarr", ledger


def test_what_is_sound_is_kept(written: tuple[Path, Ledger]) -> None:
    store, ledger = written
    assert ledger.keep_what_is_sound(store) == 0
    assert list(ledger.finished()) == [(0, 0), (1, 0)]


@pytest.mark.parametrize("array", ["classes/c/0/0", "confidence/c/0/0", "scores/c/0/0/0"])
def test_a_row_with_a_damaged_shard_is_not_there(
    written: tuple[Path, Ledger], array: str, damage: Callable[[Path], None]
) -> None:
    store, ledger = written
    damage(store / array)
    assert ledger.keep_what_is_sound(store) == 1
    assert list(ledger.finished()) == [(1, 0)]


def test_a_shard_that_should_not_be_there(written: tuple[Path, Ledger]) -> None:
    store, ledger = written
    (store / "classes/c/1").mkdir(exist_ok=True)
    (store / "classes/c/1/0").write_bytes((store / "classes/c/0/0").read_bytes())
    assert ledger.keep_what_is_sound(store) == 1
    assert list(ledger.finished()) == [(0, 0)]


def test_a_damaged_row_of_the_ledger_is_not_there(
    written: tuple[Path, Ledger], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store, ledger = written
    damage(min((tmp_path / "ledger").iterdir()))
    assert list(ledger.finished()) == [(1, 0)]
    ledger.keep_what_is_sound(store)
    assert len(list((tmp_path / "ledger").iterdir())) == 1


def test_damage_of_a_finished_store_is_an_error_to_readers(
    written: tuple[Path, Ledger], damage: Callable[[Path], None]
) -> None:
    """A shard that is gone or empty is one without any class to Zarr: there the sizes beside the store tell."""
    store, _ = written
    shard = store / "classes" / "c" / "0" / "0"
    whole = shard.stat().st_size
    (store.parent / SEALS_BESIDE.parent).mkdir()
    write_sealed(store.parent / SEALS_BESIDE, {"files": as_plain(seals_of_tree(store))})
    damage(shard)
    if shard.exists() and shard.stat().st_size == whole:
        with pytest.raises(ValueError, match="checksum"):
            open_store(store)["classes"][:512]  # type: ignore[index]
    else:
        with pytest.raises(OutputError, match="start the same run again"):
            open_store(store)


def test_every_flipped_byte_is_noticed_by_readers(written: tuple[Path, Ledger]) -> None:
    """Of chunks and of the index behind them: no byte may turn into another class."""
    store, _ = written
    shard = store / "classes" / "c" / "0" / "0"
    whole = shard.read_bytes()
    array = zarr.open_group(store, mode="r")["classes"]
    expected = np.asarray(array[:512])  # type: ignore[index]
    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        shard.write_bytes(damaged)
        try:
            read = np.asarray(array[:512])  # type: ignore[index]
        except Exception:  # noqa: BLE001 - an error is what is asked for
            continue
        np.testing.assert_array_equal(read, expected)
