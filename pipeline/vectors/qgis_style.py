"""The style table of a GeoPackage: QGIS opens the layer in the colours of its classes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

from segment_tiles.pipeline.vectors.layer import Layer

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


def add_qgis_style(path: Path, layer: Layer) -> None:
    """Add the table ``layer_styles`` with one category for each class."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_CREATE)
        database.execute(_REGISTER)
        database.execute(_INSERT, (layer.name, qgis_style(layer)))


def qgis_style(layer: Layer) -> str:
    """Return a QML document: categories by class code, fill in the colour of the class."""
    root = ElementTree.Element("qgis", version="3.28", styleCategories="Symbology")
    renderer = ElementTree.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr="class_code", enableorderby="0", forceraster="0"
    )
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, entry in enumerate(layer.classes):
        ElementTree.SubElement(
            categories, "category", render="true", type="integer", value=str(entry.code),
            symbol=str(number), label=entry.name,
        )  # fmt: skip
        _add_symbol(symbols, number, entry.color)
    return '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n' + ElementTree.tostring(
        root, encoding="unicode"
    )


def _add_symbol(symbols: ElementTree.Element, number: int, color: tuple[int, int, int]) -> None:
    symbol = ElementTree.SubElement(
        symbols, "symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1", force_rhr="0"
    )
    fill = ElementTree.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    options = ElementTree.SubElement(fill, "Option", type="Map")
    rgb = ",".join(map(str, color))
    settings = {
        "color": f"{rgb},160", "outline_color": f"{rgb},255", "outline_width": "0.2", "style": "solid",
        "outline_style": "solid", "outline_width_unit": "MM",
    }  # fmt: skip
    for name, value in settings.items():
        ElementTree.SubElement(options, "Option", type="QString", name=name, value=value)
