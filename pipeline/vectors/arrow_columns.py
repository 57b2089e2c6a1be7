"""Arrow columns from NumPy arrays and back, by their memory.

`pyarrow.array` and ``to_numpy`` import pandas, to see whether they were given some: a third of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def number_column(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return numbers as a column of an Arrow type; without a copy if they have it.

    Raises
    ------
    TypeError
        If the type cannot hold theirs.
    """
    numbers = np.ascontiguousarray(values).astype(kind.to_pandas_dtype(), casting="same_kind", copy=False)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def flag_column(values: NDArray[np.bool_]) -> pa.Array:
    """Return truth values as a column of bits."""
    return pa.Array.from_buffers(
        pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
    )


def bytes_column(values: Sequence[bytes] | NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return bytes as a column of an Arrow type that has offsets of 64 bits."""
    return _column(values, kind, np.dtype(np.int64))


def text_column(values: Sequence[str]) -> pa.Array:
    """Return text as a column of strings, 2 GiB in all at most."""
    return _column([value.encode() for value in values], pa.string(), np.dtype(np.int32))


def numbers_of(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers or truth values, none of which is missing; it cannot be written to."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if whole.type == pa.bool_():
        return np.from_dlpack(whole.cast(pa.uint8())).view(np.bool_)
    return np.from_dlpack(whole)


def bytes_of(column: pa.Array | pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column of bytes with offsets of 64 bits, none of which is missing."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    _, offsets, values = whole.buffers()
    ends = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + len(whole) + 1].tolist()
    memory, found = memoryview(values), np.empty(len(whole), dtype=np.object_)
    found[:] = [bytes(memory[start:stop]) for start, stop in pairwise(ends)]
    return found


def _column(
    values: Sequence[bytes] | NDArray[Any], kind: pa.DataType, offset_type: np.dtype[Any]
) -> pa.Array:
    ends = accumulate(map(len, values), initial=0)
    offsets = np.fromiter(ends, offset_type, len(values) + 1)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(kind, len(values), buffers)
