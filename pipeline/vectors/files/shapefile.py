"""ESRI shapefiles, and what is lost in them: they are of 1998 and end at ten characters, 254 bytes and 2 GB."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.ogr_files import write_layer
from segment_tiles.pipeline.wording import counted

LONGEST_NAME: Final = 10
"""Characters of the name of a column."""
LONGEST_TEXT: Final = 254
"""Bytes of a text."""
_SHORTER: Final = (
    ("perimeter_", "perim_"),
    ("area_planar_", "planar_"),
    ("touches_", "at_"),
    ("equivalent_diameter_", "eq_diam_"),
    ("_axis_", "_"),
    ("axon_diameter_", "axon_"),
    ("fibre_diameter_", "fibre_"),
    ("myelin_thickness_", "myelin_"),
    ("orientation_", "orient_"),
)
OPTIONS: Final = {
    "ENCODING": "UTF-8",
    "2GB_LIMIT": "YES",  # beyond it other programs read less than there is
    "DBF_DATE_LAST_UPDATE": "1970-01-01",  # the same polygons are the same bytes on any day
}


def short_name(column: str) -> str:
    """Return the name of a column in a shapefile.

    >>> short_name("area_planar_m2"), short_name("touches_nodata"), short_name("confidence")
    ('planar_m2', 'at_nodata', 'confidence')
    """
    for long, short in _SHORTER:
        column = column.replace(long, short)
    return column[:LONGEST_NAME]


def write_shapefile(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write a shapefile in UTF-8, with the files that belong to it beside it; say what it cannot hold.

    Raises
    ------
    WriteFailedError
        If it would be larger than 2 GB, or the disk is full.
    """
    names = {column: short_name(column) for column in layer.schema.names}

    def shortened(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.rename_columns([names[column] for column in batch.schema.names])

    notes = write_layer(path, layer, "ESRI Shapefile", OPTIONS, name=path.stem, change=shortened)
    renamed = ", ".join(f"{long} is {short}" for long, short in names.items() if long != short)
    found = [f"a shapefile has names of at most {LONGEST_NAME} characters: {renamed}"] if renamed else []
    cut = [entry.name for entry in layer.classes if len(entry.name.encode()) > LONGEST_TEXT]
    if cut:
        what = counted(len(cut), "name of a class is", "names of classes are")
        found.append(f"a shapefile has texts of at most {LONGEST_TEXT} bytes: {what} cut")
    return (*notes, *found)
