"""Columns made without pandas are those that pyarrow makes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segment_tiles.pipeline.vectors.arrow_columns import (
    bytes_column,
    bytes_of,
    flag_column,
    number_column,
    numbers_of,
    text_column,
)

KINDS = {np.int64: pa.int64(), np.uint64: pa.uint64(), np.uint32: pa.uint32(), np.float64: pa.float64()}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_numbers_there_and_back(kind: type, data) -> None:
    values = data.draw(arrays(kind, st.integers(0, 20)))[::2]  # not in one piece
    column = number_column(values, KINDS[kind])
    column.validate(full=True)
    assert column.type == KINDS[kind]
    np.testing.assert_array_equal(numbers_of(column), values)
    np.testing.assert_array_equal(numbers_of(pa.chunked_array([column, column])), [*values, *values])


@given(arrays(np.bool_, st.integers(0, 20)))
def test_flags_there_and_back(values: np.ndarray) -> None:
    column = flag_column(values)
    assert column.equals(pa.array(values, pa.bool_()))
    np.testing.assert_array_equal(numbers_of(column), values)


@given(st.lists(st.binary(max_size=5)), st.lists(st.text(max_size=5)))
def test_bytes_and_text(blobs: list[bytes], texts: list[str]) -> None:
    assert bytes_column(blobs, pa.large_binary()).equals(pa.array(blobs, pa.large_binary()))
    assert bytes_column(np.array([*blobs, None], object)[:-1], pa.large_binary()).to_pylist() == blobs
    blobs_of = bytes_column([b"before", *blobs], pa.large_binary())[1:]
    assert bytes_of(blobs_of).tolist() == blobs
    assert bytes_of(pa.chunked_array([blobs_of, blobs_of])).tolist() == [*blobs, *blobs]
    assert text_column(texts).equals(pa.array(texts, pa.string()))


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match="same_kind"):
        number_column(np.array([0.5]), pa.int64())


def test_pandas_is_not_imported() -> None:
    code = """if True:
        import sys
        import numpy as np, pyarrow as pa
        from segment_tiles.pipeline.vectors.arrow_columns import *
        numbers_of(number_column(np.arange(3), pa.int64())), numbers_of(flag_column(np.ones(3, bool)))
        bytes_column([b"a"], pa.large_binary()), text_column(["a"])
        print("pandas" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
