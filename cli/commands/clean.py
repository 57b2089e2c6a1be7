"""`segment-tiles clean`: what unfinished runs left in a bucket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json


@logged
def command(
    out: Annotated[Path, typer.Argument(metavar="URL", help="The --out of a run into a bucket.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, it is only named.")] = False,
    json: Json = False,
) -> None:
    """Name what unfinished runs left in a bucket, and remove it with --yes; a whole result stays."""
    from segment_tiles.pipeline.wording import counted, readable_bytes
    from segment_tiles.workflows.buckets.clean import clean

    found = clean(out, lambda text: print(f"segment-tiles: {text}", file=sys.stderr), removes=yes)
    if json:
        objects = [{"key": key, "bytes": size} for key, size in found.objects.items()]
        print_json({"url": found.address, "objects": objects, "removed": found.is_removed})
        return
    for key, size in found.objects.items():
        print(f"{found.address}/{key}  {readable_bytes(size)}")
    what = f"{counted(len(found.objects), 'object')}, {readable_bytes(found.size)}"
    if not found.objects:
        print(f"{found.address}: unfinished runs left nothing")
    elif found.is_removed:
        print(f"{found.address}: removed {what}")
    else:
        print(f"{found.address}: {what}; --yes removes them")
