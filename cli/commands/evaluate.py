"""segment-tiles evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from segment_tiles.cli.terminal.console import print_json, text_console

ClassMap = Annotated[
    Path, typer.Argument(metavar="CLASSMAP", help="Folder of a run, or a raster of class codes.")
]
Truth = Annotated[
    str,
    typer.Argument(
        metavar="TRUTH",
        help="Class raster, folder of a run, or vector file with polygons; of a volume: one of labels, or "
        "CLASS=FILE,CLASS=FILE of probabilities.",
    ),
]
ClassColumn = Annotated[
    str | None, typer.Option("--class-column", help="Column of the vector file that says the class.")
]
ClassValue = Annotated[
    list[str] | None,
    typer.Option("--class-value", metavar="VALUE=CLASS", help="What a value of TRUTH means; repeat."),
]
PolygonShape = Annotated[
    str, typer.Option("--polygon-shape", help="polygon, inscribed_ellipse or ellipse_in_ignored_box.")
]
Unlabelled = Annotated[
    str | None,
    typer.Option(
        "--unlabelled",
        metavar="CLASS",
        help="Class outside all polygons, default: not scored; or what probabilities leave of one.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="NAME,NAME", help="Names of codes 0, 1, ... where CLASSMAP has none."),
]
BoundaryWidth = Annotated[
    str, typer.Option("--boundary-width", metavar="PX,PX", help="Widths of boundary IoU.")
]
TrimapWidth = Annotated[
    str, typer.Option("--trimap-width", metavar="PX,PX", help="Widths of trimap mean IoU.")
]
Slices = Annotated[
    str | None, typer.Option("--slices", metavar="FIRST,LAST", help="Of a volume: score these slices alone.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Also write evaluation.json and confusion.png.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def command(
    class_map: ClassMap,
    truth: Truth,
    class_column: ClassColumn = None,
    class_value: ClassValue = None,
    polygon_shape: PolygonShape = "polygon",
    unlabelled: Unlabelled = None,
    classes: Classes = None,
    boundary_width: BoundaryWidth = "1,2,5",
    trimap_width: TrimapWidth = "1,2,5",
    slices: Slices = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Score a class map against the truth."""
    from segment_tiles.cli.options.evaluation import (
        parse_class_values,
        parse_polygon_shape,
        parse_slices,
        parse_widths,
    )
    from segment_tiles.pipeline.grid.classes import split_names
    from segment_tiles.workflows.training.evaluate import TruthSettings, evaluate

    document = evaluate(
        class_map,
        TruthSettings(
            path=truth,
            class_column=class_column,
            class_values=parse_class_values(class_value or []),
            polygon_shape=parse_polygon_shape(polygon_shape),
            unlabelled=unlabelled,
        ),
        class_names=None if classes is None else split_names(classes),
        boundary_widths=parse_widths("--boundary-width", boundary_width),
        trimap_widths=parse_widths("--trimap-width", trimap_width),
        slices=None if slices is None else parse_slices(slices),
        out=out,
    )
    if as_json:
        print_json(document)
    else:
        _print_tables(document)


def _print_tables(document: Mapping[str, Any]) -> None:

    from segment_tiles.cli.terminal.evaluation_table import evaluation_tables

    console = text_console()
    for table in evaluation_tables(document):
        console.print(table)
    for note in document["notes"]:
        console.print(note)
