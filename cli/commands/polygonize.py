"""`segment-tiles polygonize`: polygons of any class raster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.polygons import PolygonizeConfig, polygonize_config_from

if TYPE_CHECKING:
    from segment_tiles.workflows.polygons.report import PolygonizeReport


@logged
@with_options(options_of(PolygonizeConfig))
def command(options: Given, quiet: Quiet = False, json: Json = False) -> None:
    """Turn a class raster of any size into polygons without seams."""
    config = polygonize_config_from(**options)
    from segment_tiles.cli.terminal.vector_progress import VectorProgress
    from segment_tiles.workflows.buckets.commands.polygonize import polygonize_as_asked

    with VectorProgress(quiet=quiet or json) as progress:
        report = polygonize_as_asked(config, progress.show)
    if json:
        print_json(report_document(report))
    elif not quiet:
        print_summary(report)


def report_document(report: PolygonizeReport) -> dict[str, object]:
    """Return the report as JSON values."""
    from dataclasses import asdict

    return {**asdict(report), "files": [shown_out(path) for path in report.files]}


def print_summary(report: PolygonizeReport) -> None:
    """Print the features of each class and where they lie."""
    from rich.table import Table

    table = Table("class", "features", "pixels", f"area, {report.unit}²")
    if report.density_unit is not None:
        table.add_column(f"objects per {report.density_unit}")
    for entry in report.classes:
        density = [] if entry.density is None else [f"{entry.density:,.1f}"]
        table.add_row(entry.name, f"{entry.features:,}", f"{entry.pixels:,}", f"{entry.area:,.1f}", *density)
    console = text_console()
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for path in report.files:
        console.print(f"  {shown_out(path)}", highlight=False, soft_wrap=True)
