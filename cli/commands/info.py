"""`segment-tiles info`: what a raster is, as `run` would read it."""

from __future__ import annotations

from segment_tiles.cli.options import common as options
from segment_tiles.cli.terminal.console import print_json, text_console


def command(
    source: options.Source,
    level: options.Level = None,
    mpp: options.Mpp = None,
    source_mpp: options.SourceMpp = None,
    json: options.Json = False,
) -> None:
    """Say what a raster is: size, bands, type, nodata, CRS, levels, micrometres per pixel."""
    from segment_tiles.pipeline.sources.view import View
    from segment_tiles.workflows.run.describe import describe_source

    document = describe_source(source, level or 0, View(mpp, source_mpp, z=0, t=0))
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    bands = document.pop("band_details", [])
    notes = document.pop("notes", [])
    for name, value in document.items():
        if name != "crs_wkt":
            table.add_row(name, str(value))
    console = text_console()
    console.print(table)
    if bands:
        of_bands = Table(*bands[0])
        for band in bands:
            of_bands.add_row(*("" if value is None else str(value) for value in band.values()))
        console.print(of_bands)
    for note in notes:
        console.print(f"note: {note}", highlight=False)
