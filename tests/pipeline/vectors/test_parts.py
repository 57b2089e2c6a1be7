"""Merged parts: batches stay below what Arrow's 32-bit offsets can number, and nothing is lost on the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segment_tiles.pipeline.errors import VectorError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.vectors.files import layer as layer_module
from segment_tiles.pipeline.vectors.files import parts
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import MergedParts, write_part
from segment_tiles.pipeline.vectors.geometry.features import PART_SCHEMA
from segment_tiles.pipeline.vectors.geometry.measure import measure_of


def part(path: Path, keys: np.ndarray, sizes: np.ndarray) -> Path:
    """A part whose geometries are bytes of given sizes: nothing here looks into them."""
    columns = {
        field.name: pa.array(np.zeros(len(keys)), field.type, from_pandas=True)
        if not pa.types.is_large_binary(field.type) and not pa.types.is_boolean(field.type)
        else None
        for field in PART_SCHEMA
    }
    columns["key"] = pa.array(keys, pa.uint64())
    columns["geometry"] = pa.array([bytes([key % 251]) * size for key, size in zip(keys, sizes, strict=True)],
                                   PART_SCHEMA.field("geometry").type)  # fmt: skip
    arrays = [
        columns[field.name] if columns[field.name] is not None else pa.array([False] * len(keys), field.type)
        for field in PART_SCHEMA
    ]
    write_part(path, pa.RecordBatch.from_arrays(arrays, schema=PART_SCHEMA))
    return path


def test_batches_end_where_their_geometries_get_too_large(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parts, "GEOMETRY_BYTES", 1000)
    sizes = np.array([10, 990, 1, 2500, 400, 600, 0, 0, 1000, 5])
    keys = np.arange(10, dtype=np.uint64)
    paths = [
        part(tmp_path / "a.arrow", keys[::2], sizes[::2]),
        part(tmp_path / "b.arrow", keys[1::2], sizes[1::2]),
    ]
    batches = list(MergedParts(paths).batches(100))
    assert [key for batch in batches for key in batch["key"].to_pylist()] == keys.tolist()
    assert [[len(g) for g in batch["geometry"].to_pylist()] for batch in batches] == [
        [10, 990], [1], [2500], [400, 600, 0, 0], [1000], [5],
    ]  # fmt: skip


def test_parts_number_their_geometries_in_64_bits() -> None:
    """A tile of 8192 pixels with a feature for each pixel has 6 GB of geometries."""
    assert PART_SCHEMA.field("geometry").type == pa.large_binary()


def test_a_feature_that_no_format_holds_is_named(tmp_path, monkeypatch) -> None:
    class _Full:
        def cast(self, kind: object) -> None:
            raise pa.ArrowInvalid("offset overflow")

    rows = {"geometry": _Full(), "code": pa.array([7])}
    with pytest.raises(VectorError, match="class code 7 takes more than 2 GiB"):
        layer_module._geometry_column(rows)  # type: ignore[arg-type]


@pytest.mark.skipif(
    "SEGMENT_TILES_LARGE" not in os.environ, reason="takes 8 GB of memory: SEGMENT_TILES_LARGE=1"
)
def test_more_than_two_gib_of_geometries_in_one_batch(tmp_path) -> None:
    keys, sizes = np.arange(600, dtype=np.uint64), np.full(600, 4 * 2**20)
    paths = [part(tmp_path / "a.arrow", keys, sizes)]
    georef = GeoRef.of_pixels()
    layer = Layer("large", MergedParts(paths), (), georef, measure_of(georef), has_multiple=False)
    seen = 0
    for rows in layer.part_batches():
        batch = layer.columns(rows)
        seen += batch.num_rows
        assert batch["geometry"].nbytes < 2**30
    assert seen == 600
