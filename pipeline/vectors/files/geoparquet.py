"""GeoParquet 1.1: WKB, a bounding-box column, zstd, row groups along the Hilbert curve, PROJJSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.vectors.arrow_columns import numbers_of
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import read_ahead

ROW_GROUP_ROWS = 50_000
"""Rows of a row group: the lower end of what the format's distribution guide advises."""
ROW_GROUP_BYTES = 8 * 2**20
"""A row group ends earlier if its geometries are this large: several copies of it exist while it is written."""
BATCH_ROWS = 2048
"""Features that are merged at once: a row group is made of several, and large ones end it early."""
BOX = ("xmin", "ymin", "xmax", "ymax")
"""Sides of the box of a feature, in the order of columns."""


def write_geoparquet(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a layer as GeoParquet 1.1.0.

    Parameters
    ----------
    path : Path
        File to write.
    layer : Layer
        Features and their georeference. Without a CRS the file says ``"crs": null``: unknown.
    """
    box = pa.struct([(side, pa.float64()) for side in BOX])
    schema = layer.schema.append(pa.field("bbox", box))
    bounds: list[np.ndarray[Any, Any]] = []
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_statistics=True, use_dictionary=["class_name", "color"]
    ) as writer:
        for table in read_ahead(_row_groups(layer)):
            sides = [numbers_of(table[side]) for side in BOX]
            bounds.append(np.array([sides[0].min(), sides[1].min(), sides[2].max(), sides[3].max()]))
            batches = [
                _with_box(layer.columns(batch), batch, schema) for batch in table.to_batches() if len(batch)
            ]
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=ROW_GROUP_ROWS)
        metadata = geo_metadata(layer.georef.crs, bounds, has_multiple=layer.has_multiple)
        writer.add_key_value_metadata({"geo": json_text(metadata, indent=None)})
    return ()


def _row_groups(layer: Layer) -> Iterator[pa.Table]:
    """Yield tables of one row group each."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in layer.part_batches(BATCH_ROWS):
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows + batch.num_rows > ROW_GROUP_ROWS or size > ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _with_box(columns: pa.RecordBatch, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    box = pa.StructArray.from_arrays([rows[side] for side in BOX], names=list(BOX))
    return pa.RecordBatch.from_arrays([*columns.columns, box], schema=schema)


def geo_metadata(
    crs: CRS | None, bounds: Sequence[np.ndarray[Any, Any]], *, has_multiple: bool
) -> dict[str, Any]:
    """Return the value of the file's key ``geo`` (GeoParquet 1.1.0 specification).

    Parameters
    ----------
    crs
        Of the coordinates; None: unknown.
    bounds
        xmin, ymin, xmax, ymax of parts of the file.
    has_multiple
        Whether there are features of several parts.
    """
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"] if has_multiple else ["Polygon"],
        "crs": None if crs is None else crs.to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in BOX}},
    }
    if bounds:
        sides = np.stack(bounds)
        lowest, highest = sides.min(axis=0), sides.max(axis=0)
        column["bbox"] = [*map(float, lowest[:2]), *map(float, highest[2:])]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
