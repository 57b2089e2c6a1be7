"""Styles of QGIS: what they name is the class table; where QGIS is installed, it is the judge."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.qgis_style import polygon_style, raster_style, write_style

QGIS = Path("/usr/lib/python3/dist-packages/qgis")
SYSTEM_PYTHON = "/usr/bin/python3"
"""The one that Debian's QGIS has its bindings for."""
LOOK = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer
application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(sys.argv[1], "classes")
renderer = layer.renderer()
print(json.dumps([renderer.opacity(), [[c.value, c.color.name(), c.label] for c in renderer.classes()]]))
"""


def test_the_style_beside_a_cog_has_the_classes_of_the_table_and_no_others(
    make_store, patchy_classes, table, tmp_path
) -> None:
    write_cog(make_store(patchy_classes(90, 80)), tmp_path / "classes.tif")
    root = ElementTree.parse(tmp_path / "classes.qml").getroot()
    renderer = root.find("pipe/rasterrenderer")
    assert root.tag == "qgis"
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band"), renderer.get("opacity")) == ("paletted", "1", "0.5")
    assert [
        (int(entry.get("value", "")), entry.get("label"), entry.get("color"), entry.get("alpha"))
        for entry in renderer.iter("paletteEntry")
    ] == [(c.code, c.name, "#{:02x}{:02x}{:02x}".format(*c.color), "255") for c in table.classes]


def test_polygons_have_one_category_for_each_class_with_a_fill_half_transparent() -> None:
    classes = (MapClass(3, 'a "b", <c> [d]', (1, 2, 3)), MapClass(70000, "tab\tbell\a", (250, 0, 9)))
    root = ElementTree.fromstring(polygon_style(classes))
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_code")
    symbols = {s.get("name"): s for s in renderer.iter("symbol")}
    found = []
    for category in renderer.iter("category"):
        options = {o.get("name"): o.get("value") for o in symbols[category.get("symbol")].iter("Option")}
        found.append((category.get("type"), category.get("value"), category.get("label"), options["color"]))
    # a bell is not a character of XML
    assert found == [
        ("long", "3", 'a "b", <c> [d]', "1,2,3,128"),
        ("long", "70000", "tab\tbell\ufffd", "250,0,9,128"),
    ]


def test_confidence_has_no_style(make_store, patchy_classes, tmp_path) -> None:
    write_cog(make_store(patchy_classes(90, 80)), tmp_path / "confidence.tif", name="confidence")
    assert not (tmp_path / "confidence.qml").exists()


def test_a_style_saved_in_qgis_is_kept_and_our_own_is_replaced(table, tmp_path) -> None:
    layer, style = tmp_path / "classes.tif", tmp_path / "classes.qml"
    style.write_text("<!DOCTYPE qgis>\n<qgis version='3.34'/>\n")
    assert not write_style(layer, raster_style(table.classes))
    assert "3.34" in style.read_text()
    style.unlink()
    assert write_style(layer, raster_style(table.classes))
    assert write_style(layer, raster_style(table.classes[:2]))
    assert style.read_text() == raster_style(table.classes[:2])
    # classes.gpkg in this folder would take the style of classes.tif away
    assert not write_style(tmp_path / "classes.gpkg", polygon_style(table.classes))


@pytest.mark.skipif(
    not QGIS.is_dir(), reason="QGIS is not installed: its bindings are not in /usr/lib/python3"
)
def test_qgis_shows_each_class_by_name_half_transparent(make_store, patchy_classes, tmp_path) -> None:
    table = ClassTable((MapClass(0, "a, b", (1, 2, 3)), MapClass(1, 'say "[c]" & <d>', (250, 128, 9))))
    write_cog(make_store(patchy_classes(90, 80) % 2, table=table), tmp_path / "classes.tif")
    shown = subprocess.run(
        [SYSTEM_PYTHON, "-c", LOOK, tmp_path / "classes.tif"],
        env={"QT_QPA_PLATFORM": "offscreen"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    opacity, classes = json.loads(shown.stdout.splitlines()[-1])
    assert opacity == 0.5
    assert classes == [[0, "#010203", "a, b"], [1, "#fa8009", 'say "[c]" & <d>']]
