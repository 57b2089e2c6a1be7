"""The .aux.xml: as GDAL reads it, and by its own XML."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rasterio

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.outputs.auxiliary_metadata import auxiliary_path, write_auxiliary_metadata
from segment_tiles.pipeline.outputs.cog import write_cog

COUNTS = (5_000_000_000, 17, 0)


def fields_of(root: ElementTree.Element) -> list[list[str]]:
    header = [field.findtext("Name") or "" for field in root.iter("FieldDefn")]
    rows = [[cell.text or "" for cell in row.findall("F")] for row in root.iter("Row")]
    return [header, *rows]


def test_names_and_table_stand_in_the_order_of_codes(tmp_path: Path, table: ClassTable) -> None:
    path = tmp_path / "a.tif.aux.xml"
    write_auxiliary_metadata(path, table, COUNTS)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "PAMDataset"
    assert [element.text for element in root.iter("Category")] == list(table.names)
    assert fields_of(root) == [
        ["Value", "Class_name", "Red", "Green", "Blue", "Count"],
        ["0", "bare ground", "200", "180", "140", "5000000000"],
        ["1", "tree crown", "30", "120", "50", "17"],
        ["2", "water & ice <old>", "40", "90", "200", "0"],
    ]


def test_counts_are_left_out_where_they_are_not_known(tmp_path: Path, table: ClassTable) -> None:
    path = tmp_path / "a.tif.aux.xml"
    write_auxiliary_metadata(path, table)
    header = fields_of(ElementTree.parse(path).getroot())[0]
    assert header == ["Value", "Class_name", "Red", "Green", "Blue"]


def test_what_gdal_wrote_there_stays(tmp_path: Path, table: ClassTable) -> None:
    path = tmp_path / "a.tif.aux.xml"
    path.write_text(
        "<PAMDataset><SRS>LOCAL_CS</SRS><PAMRasterBand band='1'><CategoryNames><Category>old</Category>"
        "</CategoryNames><Metadata><MDI key='STATISTICS_MEAN'>3</MDI></Metadata></PAMRasterBand></PAMDataset>"
    )
    write_auxiliary_metadata(path, table)
    write_auxiliary_metadata(path, table)
    root = ElementTree.parse(path).getroot()
    assert root.findtext("SRS") == "LOCAL_CS"
    assert root.findtext("PAMRasterBand/Metadata/MDI") == "3"
    assert [element.text for element in root.iter("Category")] == list(table.names)
    assert len(root.findall("PAMRasterBand/GDALRasterAttributeTable")) == 1


def test_control_characters_in_a_name_do_not_break_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif.aux.xml"
    write_auxiliary_metadata(path, ClassTable((MapClass(0, "a\x07b\x00 \u5730 \U0001f333", (1, 2, 3)),)))
    names = [element.text for element in ElementTree.parse(path).getroot().iter("Category")]
    assert names == ["a\ufffdb\ufffd \u5730 \U0001f333"]


def test_rasterio_opens_the_cog_with_its_metadata(make_store, patchy_classes, tmp_path: Path) -> None:
    target = tmp_path / "classes.tif"
    write_cog(make_store(patchy_classes(300, 200)), target, pixel_counts=COUNTS)
    with rasterio.open(target) as dataset:
        # GDAL lists the file as part of the dataset only if it could read it
        assert {Path(name).name for name in dataset.files} == {"classes.tif", "classes.tif.aux.xml"}


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo (package gdal-bin) is not installed")
def test_gdal_reads_names_colours_and_counts(make_store, patchy_classes, table, tmp_path: Path) -> None:
    target = tmp_path / "classes.tif"
    write_cog(make_store(patchy_classes(300, 200)), target, pixel_counts=COUNTS)
    # gdalinfo prints names and table in its text, not in its JSON
    text = subprocess.run(["gdalinfo", target], capture_output=True, text=True, check=True).stdout
    categories = text.split("  Categories:\n")[1].splitlines()[:4]
    assert [line.strip() for line in categories[:3]] == [f"{i}: {name}" for i, name in enumerate(table.names)]
    start, end = text.index("<GDALRasterAttributeTable"), text.index("</GDALRasterAttributeTable>")
    root = ElementTree.fromstring(text[start : end + len("</GDALRasterAttributeTable>")])
    assert root.get("tableType") == "thematic"
    rows = [[str(e.code), e.name, *map(str, e.color), str(COUNTS[e.code])] for e in table.classes]
    assert fields_of(root)[1:] == rows
    assert auxiliary_path(target).exists()
