"""The style table of a GeoPackage: QGIS opens the layer in the colours of its classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from segment_tiles.pipeline.errors import WriteFailedError, one_line
from segment_tiles.pipeline.outputs.qgis_style import polygon_style
from segment_tiles.pipeline.vectors.files.layer import Layer

_CREATE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""
_REGISTER = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change)
VALUES ('layer_styles', 'attributes', 'layer_styles', '1970-01-01T00:00:00.000Z')
"""
_INSERT = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,
                          styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)
VALUES ('', '', ?, 'geom', 'classes', ?, '', 1, 'Colours of the classes', '', NULL, '1970-01-01T00:00:00.000Z')
"""


def add_qgis_style(path: Path, layers: Sequence[Layer]) -> None:
    """Add the table ``layer_styles`` with one category for each class of each layer.

    Raises
    ------
    WriteFailedError
        If the disk is full or cannot be written.
    """
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(_CREATE)
            database.execute(_REGISTER)
            database.executemany(_INSERT, [(one.name, polygon_style(one.classes)) for one in layers])
    except sqlite3.Error as error:
        msg = f"{path.name} cannot be written as GPKG: {one_line(error)}; check free space and permissions"
        raise WriteFailedError(msg) from error
