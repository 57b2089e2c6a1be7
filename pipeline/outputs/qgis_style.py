"""QML documents: layer styles from which QGIS takes class names and colours when it opens a file.

QGIS reads ``NAME.qml`` beside a layer file ``NAME.tif``, ``NAME.fgb`` and so on. Without it a class map shows
all 256 entries of the palette that a TIFF must have, and a vector file has one random colour. The elements are
those that QGIS 3.22 and later read (``QgsPalettedRasterRenderer::create``,
``QgsCategorizedSymbolRenderer::create``); older and newer versions pass over what they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.outputs.auxiliary_metadata import xml_text
from segment_tiles.pipeline.outputs.finished_file import finished_file, write_failed

SUFFIX: Final = ".qml"
OPACITY: Final = 0.5
"""Of the map over its scene."""
CLASS_COLUMN: Final = "class_code"
"""Column of the polygons that the categories are made of."""
_HEAD: Final = '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n'
_MARK: Final = "<!-- {} by segment-tiles -->\n"
_RASTER, _POLYGONS = "class map", "polygons"


def style_path(layer: Path) -> Path:
    """Return the path at which QGIS looks for the style of a layer file.

    >>> style_path(Path("out/classes.tif")).as_posix()
    'out/classes.qml'
    """
    return layer.with_suffix(SUFFIX)


def write_style(layer: Path, style: str) -> bool:
    """Write a style beside a layer file; leave one alone that we did not make of such a layer.

    That is one that a user saved in QGIS, or the style of a raster of this name if ours is of polygons.

    Returns
    -------
    bool
        Whether it was written.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    path = style_path(layer)
    if path.exists() and not _is_ours(path, style):
        return False
    with finished_file(path) as unfinished:
        unfinished.write_text(style, encoding="utf-8")
    return True


def remove_style(layer: Path, style: str) -> None:
    """Remove the style beside a layer file, if it is one of ours of the kind of another.

    Raises
    ------
    WriteFailedError
        If the folder is read-only.
    """
    path = style_path(layer)
    if path.exists() and _is_ours(path, style):
        try:
            path.unlink()
        except OSError as error:
            raise write_failed(path, error) from error


def _is_ours(path: Path, style: str) -> bool:
    """Return whether a style on the disk was made here, of a layer of the kind of another style."""
    return style.splitlines()[1] in path.read_text(encoding="utf-8", errors="replace")


def raster_style(classes: Sequence[MapClass]) -> str:
    """Return the QML document of a class map: one palette entry for each class, half transparent."""
    root = _root()
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(
        pipe,
        "rasterrenderer",
        type="paletted",
        band="1",
        opacity=str(OPACITY),
        alphaBand="-1",
        nodataColor="",
    )
    ElementTree.SubElement(renderer, "rasterTransparency")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for entry in classes:
        color = "#{:02x}{:02x}{:02x}".format(*entry.color)
        ElementTree.SubElement(
            palette,
            "paletteEntry",
            value=str(entry.code),
            color=color,
            alpha="255",
            label=xml_text(entry.name),
        )
    return _document(root, _RASTER)


def polygon_style(classes: Sequence[MapClass]) -> str:
    """Return the QML document of polygons: one category for each class code, fills half transparent."""
    root = _root()
    renderer = ElementTree.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=CLASS_COLUMN, enableorderby="0", forceraster="0"
    )
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, entry in enumerate(classes):
        ElementTree.SubElement(
            categories, "category", render="true", type="long", value=str(entry.code),
            symbol=str(number), label=xml_text(entry.name),
        )  # fmt: skip
        _add_symbol(symbols, number, entry.color)
    ElementTree.SubElement(
        root, "layerGeometryType"
    ).text = "2"  # polygons: QGIS refuses it for anything else
    return _document(root, _POLYGONS)


def _root() -> ElementTree.Element:
    return ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")


def _document(root: ElementTree.Element, kind: str) -> str:
    ElementTree.indent(root, " ")
    return _HEAD + _MARK.format(kind) + ElementTree.tostring(root, encoding="unicode") + "\n"


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
        "color": f"{rgb},{round(255 * OPACITY)}", "outline_color": f"{rgb},255", "outline_width": "0.2",
        "style": "solid", "outline_style": "solid", "outline_width_unit": "MM",
    }  # fmt: skip
    for name, value in settings.items():
        ElementTree.SubElement(options, "Option", type="QString", name=name, value=value)
