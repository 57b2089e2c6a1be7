"""`segment-tiles info`: what a raster is, as `run` would read it."""

from __future__ import annotations

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.keywords import values_of

OF_STACK = chosen(RunConfig, "assets", "grid_of", "sign", "rpc_height", "rpc_dem")
OF_RUN = (*chosen(RunConfig, "source", "level", "mpp", "source_mpp"), *OF_STACK)
"""What means the same for `run`."""


@with_options(OF_RUN)
def command(options: Given, json: Json = False) -> None:
    """Say what a raster is: size, bands, type, nodata, CRS, levels, micrometres per pixel."""
    wanted = values_of(OF_RUN, options)
    from segment_tiles.pipeline.sources.stacks.resolve import StackOptions
    from segment_tiles.pipeline.sources.view import View
    from segment_tiles.workflows.run.describe import describe_source

    stack = StackOptions(
        **{entry.field: wanted.pop(entry.field) for entry in OF_STACK if entry.field in wanted}
    )
    source, level = wanted.pop("source"), wanted.pop("level", 0)
    document = describe_source(source, level, View(**wanted, z=0, t=0), stack)
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    bands = document.pop("band_details", None) or document.pop("members", [])
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
