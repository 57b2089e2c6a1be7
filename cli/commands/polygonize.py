"""`segment-tiles polygonize`: polygons of any class raster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segment_tiles.cli.options import polygons as options
from segment_tiles.cli.terminal.console import print_json, text_console

if TYPE_CHECKING:
    from segment_tiles.workflows.polygons.report import PolygonizeReport


def command(
    raster: options.Raster,
    out: options.Out,
    formats: options.Formats = None,
    band: options.Band = None,
    connectivity: options.Connectivity = 4,
    classes: options.Classes = None,
    background: options.Background = None,
    majority: options.Majority = 0,
    sieve: options.Sieve = "0px",
    minimum_hole: options.MinimumHole = "0px",
    minimum_area: options.MinimumArea = "0px",
    simplify: options.Simplify = "0px",
    right_angles: options.RightAngles = None,
    vector_tile: options.VectorTile = 2048,
    workers: options.Workers = 1,
    level_scale: options.LevelScale = 1.0,
    restart: options.Restart = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Turn a class raster of any size into polygons without seams."""
    from segment_tiles.cli.terminal.vector_progress import VectorProgress
    from segment_tiles.pipeline.vectors.rasters.class_raster import raster_name
    from segment_tiles.workflows.polygons.polygonize import polygonize
    from segment_tiles.workflows.polygons.request import PolygonizeWords, options_from_words

    words = PolygonizeWords(
        connectivity, classes, background, majority, sieve, minimum_hole, minimum_area, simplify,
        right_angles, vector_tile, band,
    )  # fmt: skip
    request = options_from_words(raster_name(raster), words)
    with VectorProgress(quiet=quiet or json) as progress:
        report = polygonize(
            raster,
            out,
            request,
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
    from rich.table import Table

    table = Table("class", "features", "pixels", f"area, {report.unit}²")
    for entry in report.classes:
        table.add_row(entry.name, f"{entry.features:,}", f"{entry.pixels:,}", f"{entry.area:,.1f}")
    console = text_console()
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for path in report.files:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
