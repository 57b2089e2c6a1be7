"""`segment-tiles plan`: what `run` would do; computes nothing."""

from __future__ import annotations

from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.config import PLAN_OPTIONS, RunConfig, plan_config_from


@logged
@with_options(PLAN_OPTIONS)
def command(options: Given, json: Json = False) -> None:
    """Say what `run` would do: tiles, memory, disk, time. The first plan of a model measures it once."""
    config = plan_config_from(**options)
    if config.may_be_several and plan_several(config, json=json):
        return
    with importing():
        from segment_tiles.workflows.buckets.request import plan_run
        from segment_tiles.workflows.run.describe import describe_plan

    document = describe_plan(plan_run(config, with_output="out" in options))
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in document["summary"].items():
        table.add_row(name, value)
    text_console().print(table)


def plan_several(config: RunConfig, *, json: bool) -> bool:
    """Print the summed Plan of every picture of a folder, or head of a model; False if it is one run."""
    from segment_tiles.cli.commands.batch import report_plan

    with importing():
        from segment_tiles.workflows.batch.planning import plan_jobs
        from segment_tiles.workflows.batch.sources.several import several_jobs

    found = several_jobs(config)
    if found is not None:
        report_plan(plan_jobs(found.jobs), json=json)
    return found is not None
