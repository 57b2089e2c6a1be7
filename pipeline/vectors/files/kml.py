"""KML through GDAL, in the colours of the classes: longitude and latitude, always."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import pyarrow as pa

from segment_tiles.pipeline.grid.classes import MapClass
from segment_tiles.pipeline.outputs.auxiliary_metadata import xml_text
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.ogr_files import write_layer

HALF: Final = 0x80
"""Opacity of a fill: the picture below shows through."""
_NAME, _STYLE = "\t<name>", "\t<Style>"
"""Beginnings of lines as GDAL writes them, one after the other."""


def write_kml(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write KML 2.2: a placemark for each polygon, with the name and the colour of its class.

    Raises
    ------
    WriteFailedError
        If the disk is full or cannot be written.
    """
    plain = path.with_name(f"plain-{path.name}")
    notes = write_layer(
        plain, layer, "KML", {}, {"NameField": "name"}, layer.georef.crs, name=layer.name, change=_named
    )
    try:
        _color(plain, path, layer)
        plain.unlink()
    except OSError as error:
        raise write_failed(path, error) from error
    return notes


def _named(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows with a column that becomes the name of the placemark: its class code, which `_color` replaces.

    A name would come back changed: GDAL leaves blanks at its beginning out, and it may have several lines. KML has no
    integers of 64 bits, of which GDAL makes texts: codes fit into 32, and other numbers become floats.
    """
    codes = batch.column(batch.schema.get_field_index("class_code"))
    for position, entry in enumerate(batch.schema):
        if entry.type in {pa.int64(), pa.uint32(), pa.uint64()}:
            kind = pa.int32() if entry.name == "class_code" else pa.float64()
            batch = batch.set_column(position, entry.name, batch.column(position).cast(kind))
    return batch.append_column("name", codes.cast(pa.string()))


def _color(plain: Path, path: Path, layer: Layer) -> None:
    """Copy a file line by line, with names in place of codes, and the colours of classes in place of GDAL's one."""
    lines: dict[str, tuple[str, str]] = {}
    style: str | None = None
    with (
        plain.open(encoding="utf-8", newline="") as source,
        path.open("w", encoding="utf-8", newline="") as out,
    ):
        for line in source:
            if line.startswith(_NAME):
                if line not in lines:
                    lines[line] = _lines_of(layer.map_class(int(line.removeprefix(_NAME).split("<")[0])))
                name, style = lines[line]
                out.write(name)
            else:
                out.write(style if style is not None and line.startswith(_STYLE) else line)


def _lines_of(entry: MapClass) -> tuple[str, str]:
    """Return the lines of name and style of a class, as GDAL would escape a name."""
    name = escape(xml_text(entry.name), {'"': "&quot;"})
    return f"{_NAME}{name}</name>\n", _style(entry.color)


def _style(color: tuple[int, int, int]) -> str:
    """Return the line of a style; KML has alpha, blue, green, red."""
    red, green, blue = color
    bgr = f"{blue:02x}{green:02x}{red:02x}"
    line, fill = (
        f"<LineStyle><color>ff{bgr}</color></LineStyle>",
        f"<PolyStyle><color>{HALF:02x}{bgr}</color></PolyStyle>",
    )
    return f"{_STYLE}{line}{fill}</Style>\n"
