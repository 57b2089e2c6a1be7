"""`segment-tiles schedule`: a batch again and again, as a flow of Prefect."""

from __future__ import annotations

from typing import Annotated

import typer

from segment_tiles.cli.commands.batch import Jobs, RestartChanged
from segment_tiles.cli.options.logs import logged


@logged
def command(
    jobs: Jobs,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="'M H D M W'", help="When: minute, hour, day, month, weekday."),
    ] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="Of --cron, such as Europe/Berlin.")] = "UTC",
    now: Annotated[bool, typer.Option("--now", help="Run the flow once, now, and stop.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the deployment; default: that of the jobs file.")
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="How often a failed job is tried again in one run.")
    ] = 2,
    retry_seconds: Annotated[
        float, typer.Option("--retry-seconds", min=0, help="Wait before a job is tried again.")
    ] = 60.0,
    restart_changed: RestartChanged = False,
) -> None:
    """Run a batch on a schedule with Prefect: retries, a cache by fingerprint, logs on its server."""
    from segment_tiles.pipeline.errors import MissingExtraError, UsageError

    if (cron is None) == (not now):
        msg = "give either --cron, such as '0 3 * * *' for every night at three, or --now"
        raise UsageError(msg)
    try:
        from segment_tiles.workflows.batch.schedule import Retries, run_now, serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("prefect"):
            raise
        msg = "schedule needs Prefect; install it with: pip install 'segment-tiles[prefect]'"
        raise MissingExtraError(msg) from error
    if cron is None:
        states = run_now(jobs, restart_changed=restart_changed, retries=Retries(retries, retry_seconds))
        for job, state in states.items():
            print(f"{job}: {state}")
        return
    serve(
        jobs,
        cron,
        timezone,
        name or jobs.stem,
        restart_changed=restart_changed,
        retries=Retries(retries, retry_seconds),
    )
