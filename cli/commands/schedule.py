"""`segment-tiles schedule`: a batch again and again, as a flow of Prefect."""

from __future__ import annotations

from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.options.logs import logged
from segment_tiles.workflows.options.batch import ScheduleConfig, schedule_config_from
from segment_tiles.workflows.options.declare import options_of


@logged
@with_options(options_of(ScheduleConfig))
def command(options: Given) -> None:
    """Run a batch on a schedule with Prefect: retries, a cache by fingerprint, logs on its server."""
    from segment_tiles.pipeline.errors import MissingExtraError

    config = schedule_config_from(**options)
    try:
        from segment_tiles.workflows.batch.schedule import Retries, run_now, serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("prefect"):
            raise
        msg = "schedule needs Prefect; install it with: pip install 'segment-tiles[prefect]'"
        raise MissingExtraError(msg) from error
    retries = Retries(config.retries, config.retry_seconds)
    if config.cron is None:
        states = run_now(config.jobs, restart_changed=config.restart_changed, retries=retries)
        for job, state in states.items():
            print(f"{job}: {state}")
        return
    serve(
        config.jobs,
        config.cron,
        config.timezone,
        config.name or config.jobs.stem,
        restart_changed=config.restart_changed,
        retries=retries,
    )
