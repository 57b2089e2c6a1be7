"""`segment-tiles batch`: many scenes from one jobs file, one report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from segment_tiles.cli.imports import importing
from segment_tiles.cli.options.common import Json, Quiet
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.buckets.address import address_of, shown_out
from segment_tiles.workflows.options.batch import BatchConfig, batch_config_from
from segment_tiles.workflows.options.declare import options_of

if TYPE_CHECKING:
    from segment_tiles.workflows.batch.planning import BatchPlan
    from segment_tiles.workflows.batch.run import BatchResult


def _print_schema(*, value: bool) -> None:
    if value:
        from segment_tiles.workflows.batch.schema import jobs_schema

        print_json(jobs_schema())
        raise typer.Exit


@logged
@with_options(options_of(BatchConfig))
def command(
    options: Given,
    quiet: Quiet = False,
    json: Json = False,
    _schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            callback=_print_schema,
            is_eager=True,
            help="Print the JSON schema of a jobs file, and stop.",
        ),
    ] = False,
) -> None:
    """Segment many scenes; finished ones are skipped, failed ones tried again, one failure stops no other."""
    from segment_tiles.workflows.batch.jobs_file import read_jobs_file
    from segment_tiles.workflows.batch.part import parse_part

    config = batch_config_from(**options)
    part, file = parse_part(config.part), read_jobs_file(config.jobs)
    if config.dry_run:
        with importing():
            from segment_tiles.workflows.batch.planning import plan_batch

        plan = plan_batch(file, restart=config.restart, restart_changed=config.restart_changed)
        report_plan(plan, json=json)
        return
    from segment_tiles.cli.terminal.batch_progress import BatchConsole

    with importing():
        from segment_tiles.workflows.batch.run import run_batch

    with BatchConsole(quiet=quiet or json) as console:
        result = run_batch(
            file, console, restart=config.restart, restart_changed=config.restart_changed, part=part
        )
    report_batch(result, quiet=quiet, json=json)


def report_batch(result: BatchResult, *, quiet: bool, json: bool) -> None:
    """Print what became of the jobs; leave with status 1 if some failed."""
    from segment_tiles.workflows.batch.results.table import job_row

    if json:
        rows = [job_row(outcome) for outcome in result.outcomes]
        print_json({"results": shown_out(result.results), "states": result.states, "jobs": rows})
    elif not quiet:
        is_url = address_of(result.results) is not None
        has_table = result.has_written if is_url else (result.results / "jobs.csv").exists()
        where = f"; table and collection in {shown_out(result.results)}" if has_table else ""
        print(_sentence(result.states) + where)
    _leave_with_failures([(outcome.job.name, outcome.error) for outcome in result.failures], "failed")


def report_plan(plan: BatchPlan, *, json: bool) -> None:
    """Print the summed Plan; leave with status 2 if jobs would fail."""
    from segment_tiles.pipeline.names import shown_name
    from segment_tiles.workflows.run.describe import describe_plan

    summary = plan.summary()
    if json:
        jobs: list[dict[str, Any]] = [
            {
                "job": planned.job.name,
                "source": shown_name(planned.job.config.source),
                "state": planned.state,
                "error": planned.error,
                "plan": None if planned.plan is None else describe_plan(planned.plan),
            }
            for planned in plan.jobs
        ]
        print_json({"summary": summary, "jobs": jobs})
    else:
        _print_summary(summary)
    # nothing was computed: what would fail is bad input
    _leave_with_failures([(planned.job.name, planned.error) for planned in plan.failures], "would fail", 2)


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.table import Table

    from segment_tiles.pipeline.wording import readable_bytes, readable_time

    table = Table(show_header=False)
    table.add_row(
        "jobs", f"{summary['jobs']:,}: {summary['to_do']:,} to do, {summary['finished_before']:,} finished"
    )
    table.add_row("pixels", f"{summary['pixels']:,}")
    table.add_row("tiles", f"{summary['tiles']:,}, of these {summary['tiles_outside_aoi']:,} skipped")
    table.add_row("memory", f"up to {readable_bytes(summary['memory_bytes'])}")
    table.add_row("disk", f"about {readable_bytes(summary['disk_bytes'])}")
    table.add_row("time", readable_time(summary["expected_seconds"]))
    text_console().print(table)


def _sentence(states: dict[str, int]) -> str:
    """Return the counts as one sentence.

    >>> _sentence({"done": 1, "failed": 2})
    '1 done, 2 failed'
    """
    return ", ".join(f"{count:,} {state}" for state, count in states.items())


def _leave_with_failures(failures: list[tuple[str, str | None]], verb: str, status: int = 1) -> None:
    """Print the list on stderr and leave with a status, if there is one."""
    import sys

    if not failures:
        return
    for name, error in failures:
        print(f"segment-tiles: {verb}: {name}: {error}", file=sys.stderr)
    from segment_tiles.pipeline.wording import counted

    jobs = counted(len(failures), "job")
    hint = "" if verb == "would fail" else "; the same command tries them again"
    print(f"segment-tiles: error: {jobs} {verb}{hint}", file=sys.stderr)
    raise typer.Exit(status)
