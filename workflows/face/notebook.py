"""What a notebook shows of a result and of a plan: a picture and tables, nothing that runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.workflows.scenes.registry import kind_of_report

PICTURE_WIDTH: Final = 720
"""Pixels of the preview in a notebook, at most."""


def result_html(folder: Path, report: Mapping[str, Any]) -> str:
    """Return the preview of a result, and the table of its classes and areas.

    Parameters
    ----------
    folder
        Output directory.
    report
        Of the run.
    """
    parts = [f"<p><b>{escape(report['model']['name'])}</b> &rarr; <code>{escape(str(folder))}</code></p>"]
    if (folder / "preview.png").exists():
        picture = b64encode((folder / "preview.png").read_bytes()).decode("ascii")
        parts.append(
            f'<img src="data:image/png;base64,{picture}" alt="preview of scene and map" '
            f'style="max-width:{PICTURE_WIDTH}px;width:100%">'
        )
    return "<div>" + "".join([*parts, _class_table(report, _colors(folder))]) + "</div>"


def _class_table(report: Mapping[str, Any], colors: Mapping[int, str]) -> str:
    sizes = kind_of_report(report).sizes(report)
    count, size = sizes.count, sizes.size
    entries = [*report["classes"], {**report["nodata"], "name": "nodata"}]
    total = sum(entry[count] for entry in entries) or 1
    rows = [
        [
            _swatch(colors.get(entry["code"], "transparent")) + escape(entry["name"]),
            f"{entry[count]:,}",
            f"{entry[count] / total:.1%}",
            "unknown" if entry[size] is None else f"{entry[size]:,.1f}",
        ]
        for entry in entries
    ]
    return html_table(["class", count, "share", sizes.title], rows)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "right") -> str:
    """Return a table; its first column is text, the others go to a side, as numbers to the right. Cells are HTML.

    >>> html_table(["class"], [["tree"]])
    '<table><thead><tr><th>class</th></tr></thead><tbody><tr><td>tree</td></tr></tbody></table>'
    """
    style = f'style="text-align:{align}"'
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr><td>{first}</td>{''.join(f'<td {style}>{cell}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _swatch(color: str) -> str:
    return (
        f'<span style="display:inline-block;width:0.9em;height:0.9em;margin-right:0.5em;background:{color};'
        'border:1px solid #888"></span>'
    )


def _colors(folder: Path) -> dict[int, str]:
    """Return the colour of each code, as the store has them."""
    from segment_tiles.pipeline.outputs.stores.store import open_store, read_class_table  # noqa: PLC0415 - brings zarr

    table: ClassTable = read_class_table(open_store(folder / "classes.zarr"))
    return {entry.code: "#{:02x}{:02x}{:02x}".format(*entry.color) for entry in table.classes}
