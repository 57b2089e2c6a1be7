"""The shard writer: rows of any height come out at their place, each row of shards once, with its counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import create_store, open_store

TABLE = ClassTable((MapClass(0, "a", (0, 0, 0)), MapClass(1, "b", (9, 9, 9))))


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.integers(0, 90))
@settings(max_examples=8)
def test_rows_of_any_height(
    tmp_path_factory: pytest.TempPathFactory, heights: list[int], offset: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("store")
    shape = (sum(heights), 300)
    rng = np.random.default_rng(0)
    classes = rng.choice(np.array([0, 1, 255], dtype=np.uint8), shape)
    confidence = rng.integers(0, 255, shape, dtype=np.uint8)
    group = open_store(create_store(folder / "classes.zarr", shape, GeoRef.of_pixels(), TABLE), "r+")
    ledger = Ledger(folder / "ledger")
    with ShardWriter(group, Window(0, 0, *shape), offset, ledger, TABLE.nodata, TABLE.count) as writer:
        row = 0
        for height in heights:
            part = slice(row, row + height)
            writer.append(FinishedRows(row + offset, classes[part], confidence[part], None))
            row += height
    np.testing.assert_array_equal(group["classes"][:], classes)
    np.testing.assert_array_equal(group["confidence"][:], confidence)
    counts = np.sum(list(ledger.finished().values()), axis=0)
    assert counts.tolist() == [int((classes == code).sum()) for code in (0, 1, 255)]
    assert len(ledger.finished()) == -(-shape[0] // 512)


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    group = open_store(create_store(tmp_path / "classes.zarr", (600, 50), GeoRef.of_pixels(), TABLE), "r+")
    rows = np.zeros((10, 50), dtype=np.uint8)
    with (
        pytest.raises(ValueError, match="rows start at 20, but the next row of the Region is 0"),
        ShardWriter(group, Window(0, 0, 600, 50), 0, Ledger(tmp_path / "ledger"), 255, 2) as writer,
    ):
        writer.append(FinishedRows(20, rows, rows, None))


def test_an_interrupted_row_of_shards_is_not_in_the_ledger(tmp_path: Path) -> None:
    group = open_store(create_store(tmp_path / "classes.zarr", (1200, 50), GeoRef.of_pixels(), TABLE), "r+")
    rows = np.zeros((700, 50), dtype=np.uint8)
    ledger = Ledger(tmp_path / "ledger")
    writer = ShardWriter(group, Window(0, 0, 1200, 50), 0, ledger, 255, 2)
    writer.append(FinishedRows(0, rows, rows, None))
    error = RuntimeError("the stream broke")
    writer.__exit__(type(error), error, None)
    assert list(ledger.finished()) == [(0, 0)]


@pytest.mark.parametrize("without_class", ["nowhere", "one chunk", "everywhere"])
def test_the_files_are_those_that_zarr_writes_itself(tmp_path: Path, without_class: str) -> None:
    shape = (512, 1024)
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, shape, dtype=np.uint8)
    confidence = random.integers(128, 256, shape, dtype=np.uint8)
    empty = {"nowhere": slice(0), "one chunk": slice(512), "everywhere": slice(None)}[without_class]
    classes[:, empty], confidence[:, empty] = TABLE.nodata, 0
    group = open_store(create_store(tmp_path / "ours.zarr", shape, GeoRef.of_pixels(), TABLE), "r+")
    ledger = Ledger(tmp_path / "ledger")
    with ShardWriter(group, Window(0, 0, *shape), 0, ledger, TABLE.nodata, TABLE.count) as writer:
        writer.append(FinishedRows(0, classes, confidence, None))
    plain = open_store(create_store(tmp_path / "plain.zarr", shape, GeoRef.of_pixels(), TABLE), "r+")
    plain["classes"][:], plain["confidence"][:] = classes, confidence
    ours, theirs = (_files(tmp_path / name) for name in ("ours.zarr", "plain.zarr"))
    assert ours == theirs
    shards = [name for name in ours if "/c/" in name]
    assert len(shards) == (0 if without_class == "everywhere" else 2)


def _files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_arrays_are_described_as_zarr_describes_them_itself(tmp_path: Path) -> None:
    shape = (700, 5000)
    path = create_store(tmp_path / "classes.zarr", shape, GeoRef.of_pixels(), TABLE, with_scores=True)
    ours = open_store(path)
    theirs = zarr.create_group(tmp_path / "theirs.zarr", attributes=dict(ours.attrs))
    for name, fill_value in (("classes", TABLE.nodata), ("confidence", 0), ("scores", 0)):
        leading = (TABLE.count,) if name == "scores" else ()
        theirs.create_array(
            name,
            shape=(*leading, *shape),
            dtype="uint8",
            shards=(*leading, 512, 4096),
            chunks=(*(1 for _ in leading), 512, 512),
            compressors=(BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle"), Crc32cCodec()),
            fill_value=fill_value,
            dimension_names=(*("class" for _ in leading), "y", "x"),
            attributes=dict(ours[name].attrs),
        )
    described = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    assert len(described) == 4
    for name in described:
        assert (path / name).read_bytes() == (tmp_path / "theirs.zarr" / name).read_bytes()
