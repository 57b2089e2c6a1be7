"""`segment-tiles polygonize`: polygons of any class raster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segment_tiles.cli.console import print_json

if TYPE_CHECKING:
    from segment_tiles.workflows.polygonize import PolygonizeReport

_AREA = "AREA"
_AREA_HELP = "AREA is 25px, or a number of square metres (of square units where there is no CRS)."


def command(
    raster: Annotated[
        Path,
        typer.Argument(
            metavar="RASTER", help="classes.zarr, the folder of a run, or a raster of integer classes."
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option(
            "--out",
            metavar="FILE",
            help="May be repeated: .parquet .gpkg .fgb .geojson .geojsonl .qupath.geojson .pmtiles",
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of each --out where its ending does not say it: parquet, gpkg, qupath, ...",
        ),
    ] = None,
    connectivity: Annotated[
        int,
        typer.Option("--connectivity", metavar="4|8", help="4: pixels share an edge; 8: a corner is enough."),
    ] = 4,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B", help="Names or codes of the classes wanted; default: all."),
    ] = None,
    background: Annotated[
        str | None, typer.Option("--background", metavar="CLASS", help="A class that becomes no feature.")
    ] = None,
    majority: Annotated[
        int,
        typer.Option(
            "--majority", metavar="PX", help="Majority smoothing in a square of this odd side, first."
        ),
    ] = 0,
    sieve: Annotated[
        str,
        typer.Option(
            "--sieve",
            metavar=_AREA,
            help=f"Smaller ones take the class of their largest neighbour. {_AREA_HELP}",
        ),
    ] = "0px",
    minimum_hole: Annotated[
        str, typer.Option("--min-hole", metavar=_AREA, help="Smaller holes take the class around them.")
    ] = "0px",
    minimum_area: Annotated[
        str, typer.Option("--min-area", metavar=_AREA, help="Smaller features are left out.")
    ] = "0px",
    simplify: Annotated[
        str,
        typer.Option(
            "--simplify",
            metavar="LENGTH",
            help="Simplify shared borders: 2px, or metres. Default: exact pixel edges.",
        ),
    ] = "0px",
    right_angles: Annotated[
        str | None,
        typer.Option(
            "--right-angles", metavar="A,B", help="Classes whose outlines become right-angled (buildings)."
        ),
    ] = None,
    vector_tile: Annotated[
        int,
        typer.Option(
            "--vector-tile",
            metavar="PX",
            help="Side of the tiles worked on; changes memory, never the features.",
        ),
    ] = 2048,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Processes.")] = 1,
    level_scale: Annotated[
        float,
        typer.Option(
            "--level-scale", metavar="F", help="QuPath: full-resolution pixels in a pixel of RASTER."
        ),
    ] = 1.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the finished tiles of an interrupted request.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Turn a class raster of any size into polygons without seams."""
    from segment_tiles.cli.vector_progress import VectorProgress
    from segment_tiles.workflows.polygonize import polygonize
    from segment_tiles.workflows.polygonize_words import PolygonizeWords, options_from_words

    words = PolygonizeWords(
        connectivity, classes, background, majority, sieve, minimum_hole, minimum_area, simplify,
        right_angles, vector_tile,
    )  # fmt: skip
    options = options_from_words(raster, words)
    with VectorProgress(quiet=quiet or json) as progress:
        report = polygonize(
            raster,
            out,
            options,
            formats=formats,
            workers=workers,
            level_scale=level_scale,
            restart=restart,
            progress=progress.show,
        )
    if json:
        print_json(report_document(report))
    elif not quiet:
        print_summary(report)


def report_document(report: PolygonizeReport) -> dict[str, object]:
    """Return the report as JSON values."""
    from dataclasses import asdict

    return {**asdict(report), "files": [str(path) for path in report.files]}


def print_summary(report: PolygonizeReport) -> None:
    """Print the features of each class and where they lie."""
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "features", "pixels", f"area, {report.unit}²")
    for entry in report.classes:
        table.add_row(entry.name, f"{entry.features:,}", f"{entry.pixels:,}", f"{entry.area:,.1f}")
    console = Console()
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for path in report.files:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
