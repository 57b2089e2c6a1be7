"""The ``.aux.xml`` beside a GeoTIFF: class names for GDAL and QGIS.

A GeoTIFF has colours but no class names. GDAL reads them from its "persistent auxiliary metadata": category
names, and a thematic raster attribute table, from which QGIS makes a legend. rasterio can write neither.
Format: https://gdal.org/en/stable/user/raster_data_model.html and GDAL's gdalpamdataset / gdal_rat sources.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass

SUFFIX: Final = ".aux.xml"

# GDALRATFieldType and GDALRATFieldUsage
_INTEGER, _REAL, _STRING = 0, 1, 2
_PIXEL_COUNT, _NAME, _MIN_MAX, _RED, _GREEN, _BLUE = 1, 2, 5, 6, 7, 8
_FIELDS: Final = (
    ("Value", _INTEGER, _MIN_MAX),
    ("Class_name", _STRING, _NAME),
    ("Red", _INTEGER, _RED),
    ("Green", _INTEGER, _GREEN),
    ("Blue", _INTEGER, _BLUE),
)
# real, because an integer of a GDAL table has 32 bits
_COUNT_FIELD: Final = ("Count", _REAL, _PIXEL_COUNT)
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def auxiliary_path(raster: Path) -> Path:
    """Return the path at which GDAL looks for the auxiliary metadata of a raster.

    >>> auxiliary_path(Path("out/classes.tif")).as_posix()
    'out/classes.tif.aux.xml'
    """
    return raster.with_name(raster.name + SUFFIX)


def write_auxiliary_metadata(
    path: Path, table: ClassTable, pixel_counts: Sequence[int] | None = None, *, band: int = 1
) -> None:
    """Write names, and the attribute table of codes, names, colours and counts, of one band.

    What the file already says apart from them, such as statistics or a CRS, stays.

    Parameters
    ----------
    path
        The ``.aux.xml`` file.
    table
        The classes.
    pixel_counts
        Pixels of each class in the order of codes, if known.
    band
        Counted from 1.
    """
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("PAMDataset")
    element = _band_element(root, band)
    for tag in ("CategoryNames", "GDALRasterAttributeTable"):
        for old in element.findall(tag):
            element.remove(old)
    element.append(_category_names(table))
    element.append(_attribute_table(table, pixel_counts))
    ElementTree.indent(root)
    path.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _band_element(root: ElementTree.Element, band: int) -> ElementTree.Element:
    for element in root.findall("PAMRasterBand"):
        if element.get("band") == str(band):
            return element
    return ElementTree.SubElement(root, "PAMRasterBand", band=str(band))


def _category_names(table: ClassTable) -> ElementTree.Element:
    """The position of a name is the code that it belongs to; codes that no class has are without one."""
    names = ElementTree.Element("CategoryNames")
    by_code = {entry.code: xml_text(entry.name) for entry in table.classes}
    for code in range(table.codes[-1] + 1):
        ElementTree.SubElement(names, "Category").text = by_code.get(code)
    return names


def _attribute_table(table: ClassTable, pixel_counts: Sequence[int] | None) -> ElementTree.Element:
    fields = _FIELDS if pixel_counts is None else (*_FIELDS, _COUNT_FIELD)
    attribute_table = ElementTree.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(fields):
        field = ElementTree.SubElement(attribute_table, "FieldDefn", index=str(index))
        ElementTree.SubElement(field, "Name").text = name
        ElementTree.SubElement(field, "Type").text = str(kind)
        ElementTree.SubElement(field, "Usage").text = str(usage)
    for index, entry in enumerate(table.classes):
        row = ElementTree.SubElement(attribute_table, "Row", index=str(index))
        count = None if pixel_counts is None else pixel_counts[index]
        for value in _row_values(entry, count):
            ElementTree.SubElement(row, "F").text = value
    return attribute_table


def _row_values(entry: MapClass, pixel_count: int | None) -> list[str]:
    values = [str(entry.code), xml_text(entry.name), *(str(part) for part in entry.color)]
    return values if pixel_count is None else [*values, str(pixel_count)]


def xml_text(text: str) -> str:
    """Replace control characters, which XML cannot hold."""
    return _NOT_IN_XML.sub("\ufffd", text)
