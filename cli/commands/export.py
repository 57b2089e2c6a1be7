"""`segment-tiles export`: further formats from a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json
from segment_tiles.workflows.config import EXPORT_OPTIONS
from segment_tiles.workflows.options.keywords import values_of


@logged
@with_options(EXPORT_OPTIONS)
def command(
    run_directory: Annotated[Path, typer.Argument(metavar="DIR", help="Output directory of a finished run.")],
    options: Given,
    json: Json = False,
) -> None:
    """Make further formats from a finished run, without computing anything again."""
    wanted = values_of(EXPORT_OPTIONS, options)
    from segment_tiles.workflows.buckets.address import shown_out
    from segment_tiles.workflows.buckets.copies import export

    written = export(run_directory, tell=_tell, **wanted)
    shown = shown_out(run_directory)
    if json:
        print_json({"out": shown, "written": written})
        return
    for name in written:
        print(f"{shown}/{name}")


def _tell(text: str) -> None:
    print(f"segment-tiles: {text}", file=sys.stderr)
