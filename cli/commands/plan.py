"""`segment-tiles plan`: what `run` would do; computes nothing."""

from __future__ import annotations

from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.config import PLAN_OPTIONS, plan_config_from


@logged
@with_options(PLAN_OPTIONS)
def command(options: Given, json: Json = False) -> None:
    """Say what `run` would do: tiles, memory, disk, time. The first plan of a model measures it once."""
    config = plan_config_from(**options)
    with importing():
        from segment_tiles.workflows.run.describe import describe_plan
        from segment_tiles.workflows.run.request import plan_run

    document = describe_plan(plan_run(config, with_output="out" in options))
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in document["summary"].items():
        table.add_row(name, value)
    text_console().print(table)
