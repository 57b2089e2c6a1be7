"""A batch as a flow of Prefect 3: a task per job, several in flight, tried again if one fails, cached by fingerprint.

Without ``PREFECT_API_URL`` Prefect works on its own database in ``PREFECT_HOME``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from logging import Logger, LoggerAdapter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from segment_tiles.workflows.batch.schedule_server import STARTUP_TIMEOUT, started_server

# before Prefect is imported: it reads its settings then. On a busy machine its server takes long to start
os.environ.setdefault(STARTUP_TIMEOUT, "300")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

from prefect import flow, get_run_logger, task
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.annotations import quote

from segment_tiles.pipeline.errors import (
    ChangedRunError,
    RunFailedError,
    SegmentTilesError,
    UsageError,
    one_line,
)
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.library_messages import clean_log_records
from segment_tiles.pipeline.parent_process import end_with_process
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.layers.wanted import check_layers, layers_of
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.planning import check_jobs
from segment_tiles.workflows.batch.run import Way, run_job
from segment_tiles.workflows.batch.run import run_jobs as run_batch_jobs
from segment_tiles.workflows.batch.sources.mosaic import write_mosaic
from segment_tiles.workflows.batch.stream.shared_executor import SharedExecutor
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.buckets.copies import report_of
from segment_tiles.workflows.buckets.request import is_finished_and_same
from segment_tiles.workflows.logs.output import logging_of_parent
from segment_tiles.workflows.options.batch import ScheduleConfig
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.polygons import given_settings
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run.listener import Listener
from segment_tiles.workflows.run.request import settings_asked

clean_log_records()  # before Prefect keeps the first
CLIENT = "SEGMENT_TILES_SCHEDULE_PROCESS"
"""Variable with the process that serves the schedule: processes that run the flow end with it."""
OPTIONS = {option.field: option for option in options_of(ScheduleConfig)}
"""Of `segment-tiles schedule`: the flow has the same defaults."""


@dataclass(frozen=True, slots=True)
class Retries:
    """What happens to a job that failed."""

    count: int
    """Further attempts in the same run of the flow."""
    seconds: float
    """Wait before each."""


class _Log:
    """Listens to a run; what is worth knowing goes into the log of Prefect."""

    def __init__(self, logger: Logger | LoggerAdapter[Logger]) -> None:
        self._logger = logger

    def warn(self, text: str) -> None:
        self._logger.warning(text)

    def note(self, text: str) -> None:
        self._logger.info(text)

    def stage(self, name: str) -> None:
        self._logger.debug(name)

    def planned(self, plan: Plan) -> None:
        self._logger.info("%d tiles", plan.tiles)

    def tiles(self, computed: int, skipped: int) -> None:
        pass

    def job_starts(self, job: Job, total: int) -> None:
        self._logger.info("%s: job %d of %d begins", job.name, job.number, total)

    def job_ends(self, outcome: JobOutcome) -> None:
        self._logger.info("%s: %s", outcome.job.name, outcome.state)


@dataclass(slots=True)
class _Work:
    """What a task needs that no database has to keep."""

    job: Job
    told: Listener
    executor: SharedExecutor
    way: Way
    outcome: JobOutcome | None = None


def _key_of(_context: Any, parameters: Mapping[str, Any]) -> str | None:
    return str(parameters["key"]) if parameters["key"] else None


def _is_worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Say no if the next attempt would be refused too; a source may be there again in a minute."""
    return not isinstance(state.result(raise_on_failure=False), ChangedRunError)


@task(
    name="segment",
    task_run_name="{name}",
    persist_result=True,
    result_serializer="json",
    cache_key_fn=_key_of,
    retry_condition_fn=_is_worth_a_retry,
)
def segment_job(name: str, key: str | None, work: _Work) -> dict[str, Any]:
    """Do one job; Prefect keeps the answer under the key and does not call this again for it."""
    work.outcome = run_job(work.job, work.told, work.executor, work.way)
    if work.outcome.has_failed:
        msg = f"{name}: {work.outcome.error}"
        raise ChangedRunError(msg) if work.outcome.state == "changed" else RunFailedError(msg)
    return {"job": name, "state": work.outcome.state, "key": key}


@flow(name="segment-tiles-batch")
def run_jobs(
    jobs_file: str,
    restart_changed: bool = False,
    retries: int = OPTIONS["retries"].default,
    retry_seconds: float = OPTIONS["retry_seconds"].default,
) -> dict[str, str]:
    """Run the jobs of a file and return their states; the names are those of output directories.

    Raises
    ------
    RunFailedError
        If jobs failed, after all others were done.
    UsageError
        If the jobs file cannot be accepted.
    """
    client = int(os.environ.get(CLIENT, os.getpid()))
    if client == os.getpid():
        return _run_all(jobs_file, restart_changed, Retries(retries, retry_seconds))
    end_with_process(client)
    with logging_of_parent():
        return _run_all(jobs_file, restart_changed, Retries(retries, retry_seconds))


def _run_all(jobs_file: str, restart_changed: bool, retries: Retries) -> dict[str, str]:
    file = read_jobs_file(Path(jobs_file))
    jobs = list_jobs(file)
    check_layers(file, jobs)

    def do(job: Job, told: Listener, executor: SharedExecutor, way: Way) -> JobOutcome:
        return _run_as_task(_Work(job, told, executor, way), retries)

    outcomes = run_batch_jobs(
        jobs, _Log(get_run_logger()), results=file.results, title=file.path.name,
        layers=layers_of(file), restart_changed=restart_changed, do=do,
    )  # fmt: skip
    failed = [outcome for outcome in outcomes if outcome.has_failed]
    if failed:
        first = f"{failed[0].job.name}: {failed[0].error}"
        all_jobs = counted(len(jobs), "job")
        msg = f"{len(failed)} of {all_jobs} failed, all are in {shown_out(file.results)}/jobs.csv; the first: {first}"
        raise RunFailedError(msg)
    return {outcome.job.name: outcome.state for outcome in outcomes}


def _run_as_task(work: _Work, retries: Retries) -> JobOutcome:
    """Run a job as a task; one that Prefect has in its cache, and whose results are there, is not run."""
    job = work.job
    prepared = segment_job.with_options(
        retries=retries.count,
        retry_delay_seconds=retries.seconds,
        # Prefect's cache knows of the past, not whether the results are still on the disk
        refresh_cache=not _is_there(job),
    )
    prepared(job.name, job_key(job), quote(work), return_state=True)
    if work.outcome is not None:
        return work.outcome
    return JobOutcome(job, "skipped", report=report_of(job.config.out))


def job_key(job: Job) -> str | None:
    """Return what the result of a job depends on, as sha256; None if the job cannot even start.

    It is the settings of the fingerprint with the user's options in place of what a probe will choose, because
    the key has to be there before the run.
    """
    config = job.config
    try:
        if job.mosaic is not None:
            write_mosaic(job.mosaic, Path(config.source))
        settings = settings_asked(config)
    except SegmentTilesError:
        return None  # the task says what is wrong
    asked = [settings, str(config.out), config.formats, config.device, config.precision, config.batch]
    asked += [config.backend, config.augmentation, given_settings(config)]
    return sha256(json_text(asked, sort_keys=True, indent=None).encode()).hexdigest()


def _is_there(job: Job) -> bool:
    try:
        return is_finished_and_same(job.config)
    except SegmentTilesError:
        return False  # the task says what is wrong


def run_now(path: Path, *, restart_changed: bool, retries: Retries) -> dict[str, str]:
    """Run the flow once, in this process, and return the states of its jobs.

    Raises
    ------
    RunFailedError, UsageError
        As `run_jobs`; where Prefect's server does not start.
    """
    with _api():
        return run_jobs(str(path), restart_changed, retries.count, retries.seconds)


def serve(
    path: Path, cron: str, timezone: str, name: str, *, restart_changed: bool, retries: Retries
) -> None:
    """Run the jobs of a file whenever the schedule says, until interrupted.

    Raises
    ------
    UsageError
        If the jobs file, one of its jobs, or the schedule cannot be accepted, or Prefect's server does not start.
    """
    try:
        ZoneInfo(timezone)  # Prefect would find out only after its server has started
        schedule = Cron(cron, timezone=timezone)
    except (ValueError, ZoneInfoNotFoundError) as error:
        msg = (
            f"--cron is {cron!r} in {timezone!r}: {one_line(error)}; "
            "give minute, hour, day, month and weekday such as '0 3 * * *', and a time zone such as UTC"
        )
        raise UsageError(msg) from error
    check_jobs(read_jobs_file(path), restart_changed=restart_changed)
    with _api():
        run_jobs.serve(
            name=name,
            schedule=schedule,
            parameters={
                "jobs_file": str(path.absolute()),
                "restart_changed": restart_changed,
                "retries": retries.count,
                "retry_seconds": retries.seconds,
            },
            limit=1,  # a run that takes longer than the time between two is not overtaken
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


@contextmanager
def _api() -> Iterator[None]:
    """Use the server that is named, or start one over Prefect's local database: schedules need one."""
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    if PREFECT_API_URL.value():
        yield
        return
    with started_server() as address:
        # for the processes that run the flow
        os.environ.update({"PREFECT_API_URL": address, CLIENT: str(os.getpid())})
        try:
            with temporary_settings({PREFECT_API_URL: address}):
                yield
        finally:
            for name in ("PREFECT_API_URL", CLIENT):
                os.environ.pop(name, None)
