"""Columns of objects: their number, and what is known of their shape; empty for features that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segment_tiles.pipeline.vectors.arrow_columns import flag_column, number_column, numbers_of
from segment_tiles.pipeline.vectors.files.parts import read_part_columns
from segment_tiles.pipeline.vectors.geometry.features import OBJECT_SCHEMA
from segment_tiles.pipeline.vectors.geometry.measure import Measure
from segment_tiles.pipeline.vectors.geometry.objects.numbers import ObjectNumbers
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import SHEATH_LENGTHS
from segment_tiles.pipeline.vectors.rasters.identities import is_object

_LENGTHS: Final = ("equivalent_diameter", "major_axis", "minor_axis")
_MEASURED: Final = (
    "centroid_x", "centroid_y", *_LENGTHS, "orientation", "eccentricity", "solidity", "neighbours",
)  # fmt: skip
"""Columns of a part that become columns of the files."""


def object_numbers(parts: Sequence[Path]) -> ObjectNumbers:
    """Return the numbers of the objects in part files: 8 bytes for each are in memory."""
    found = [read_part_columns(part, ["identity"])[0] for part in parts]
    identities = np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)
    return ObjectNumbers(np.sort(identities[is_object(identities)]))


def values_of_parts(parts: Sequence[Path]) -> tuple[str, ...]:
    """Return the columns of sheaths, and of values, that part files have after all others."""
    if not parts:
        return ()
    with pa.OSFile(str(parts[0]), "rb") as file:
        names = pa.ipc.open_file(file).schema.names
    return tuple(names[len(OBJECT_SCHEMA) :])


def object_fields(measure: Measure, values: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    """Return names and types of the columns."""
    names = {name: f"{name}_{measure.suffix}" for name in (*_LENGTHS, *SHEATH_LENGTHS)}
    names["orientation"] = "orientation_deg"
    kinds = {"neighbours": pa.int64()}
    measured = [(names.get(name, name), kinds.get(name, pa.float64())) for name in _MEASURED]
    return [("object", pa.int64()), *measured, *((names.get(name, name), pa.float64()) for name in values)]


def object_columns(rows: pa.RecordBatch, objects: ObjectNumbers, values: Sequence[str]) -> list[pa.Array]:
    """Return the columns of rows of a part."""
    numbers = objects.of(numbers_of(rows["identity"]))
    known = flag_column(numbers > 0)
    columns = [number_column(numbers, pa.int64()), *(rows[name] for name in _MEASURED)]
    found = [pc.if_else(known, column, pa.scalar(None, column.type)) for column in columns]
    # NaN is what no pixel had a value for, and the sheath of what may have none
    has_any = [pc.and_(known, pc.is_finite(rows[name])) for name in values]
    empty = pa.scalar(None, pa.float64())
    return found + [pc.if_else(has, rows[name], empty) for name, has in zip(values, has_any, strict=True)]
