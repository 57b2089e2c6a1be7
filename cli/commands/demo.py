"""`segment-tiles demo`: bundled real data through a bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.commands.run import print_summary
from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import Console, print_json
from segment_tiles.pipeline.names import shown_name
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.demo import DEMOS, FOLDER, demo_config
from segment_tiles.workflows.options.declare import chosen
from segment_tiles.workflows.options.keywords import values_of

OF_RUN = chosen(RunConfig, "device", "restart")
"""Options that mean what they mean for `run`."""
FIRST, *OTHERS = DEMOS
OF_A_FILE = [name for name, demo in DEMOS.items() if demo.sample is None]
SHOWN = "; ".join(f"{name}: {demo.shows}" for name, demo in DEMOS.items())


@logged
@with_options(OF_RUN)
def command(
    *,
    name: Annotated[str, typer.Argument(metavar=f"[{'|'.join(DEMOS)}]", help=f"{SHOWN}.")] = FIRST,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help=f"What {' and '.join(OF_A_FILE)} maps.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help=f"Output directory; default: {FOLDER}, with -{' or -'.join(OTHERS)} for these demos.",
        ),
    ] = None,
    options: Given,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Map real data that ships with the program, or a file of yours: every output, and where to look."""
    config = demo_config(out, name=name, file=file, **values_of(OF_RUN, options))
    with importing():
        from segment_tiles.workflows.buckets.segment import segment

    with Console(quiet=quiet or json) as console:
        result = segment(config, console)
    report = {**result.report, "out": str(config.out), "was_finished": result.was_finished}
    if json:
        print_json(report)
    elif not quiet:
        print_summary(report)
        print("\n" + DEMOS[name].look.format(out=config.out, source=shown_name(config.source)))
