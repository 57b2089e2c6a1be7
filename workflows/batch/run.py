"""Runs the jobs of a batch, several in flight; a failure of one does not stop the others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from segment_tiles.pipeline.errors import ChangedRunError, SegmentTilesError, one_line
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.unforeseen import describe_unforeseen
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import JobsFile
from segment_tiles.workflows.batch.layers.wanted import NONE, Layers, check_layers, layers_of
from segment_tiles.workflows.batch.outcome import JobOutcome, kept_of
from segment_tiles.workflows.batch.part import WHOLE, Part
from segment_tiles.workflows.batch.results.write import check_right, write_results
from segment_tiles.workflows.batch.sources.mosaic import write_mosaic
from segment_tiles.workflows.batch.stream.job_stream import JobStream
from segment_tiles.workflows.batch.stream.shared_executor import SharedExecutor
from segment_tiles.workflows.batch.stream.whole_scenes import finish_on_worker, segment_on_worker
from segment_tiles.workflows.buckets.segment import segment
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor
from segment_tiles.workflows.executors.interruption import interruption
from segment_tiles.workflows.logs.context import logged_as
from segment_tiles.workflows.regions.loaded_model import segmenters_kept
from segment_tiles.workflows.run.in_flight import ALONE, Alone, InFlight
from segment_tiles.workflows.run.listener import Listener, RunResult

log = logging.getLogger(__name__)


class BatchListener(Listener, Protocol):
    """Who wants to know how a batch goes."""

    def note(self, text: str) -> None:
        """What happens to the cluster, such as the address of its dashboard."""
        ...

    def job_starts(self, job: Job, total: int) -> None:
        """A job begins."""
        ...

    def job_ends(self, outcome: JobOutcome) -> None:
        """A job came to its end, good or bad."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a job is run."""

    restart_changed: bool = False
    """Whether to throw away what it left, if its source or settings are not what they were."""
    in_flight: Alone = ALONE
    """What it shares with others."""
    whole_on: str | None = None
    """Device on which a worker may do it as a whole."""


DoJob = Callable[[Job, Listener, SharedExecutor, Way], JobOutcome]
"""Runs one job; whatever is wrong with it is in the outcome."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch gives back."""

    outcomes: tuple[JobOutcome, ...]
    """One per job, in the order of the file."""
    results: Path
    """Folder or URL of ``jobs.parquet``, ``jobs.csv`` and ``collection.json``."""
    has_written: bool = True
    """Whether they are of these jobs: a part writes none."""

    @property
    def failures(self) -> list[JobOutcome]:
        """Jobs that the user has to look at."""
        return [outcome for outcome in self.outcomes if outcome.has_failed]

    @property
    def states(self) -> dict[str, int]:
        """Jobs by state; states that no job has are left out."""
        return dict(Counter(outcome.state for outcome in self.outcomes))


def run_batch(
    file: JobsFile,
    listener: BatchListener,
    *,
    restart: bool = False,
    restart_changed: bool = False,
    part: Part = WHOLE,
) -> BatchResult:
    """Run every job that is not finished, and write table and collection, also when interrupted.

    Parameters
    ----------
    file
        The jobs file.
    listener
        Told of jobs, stages, tiles and warnings.
    restart
        Throw away what all jobs left.
    restart_changed
        Throw away what jobs left whose source or settings are not what they were.
    part
        Which of the jobs; table and collection are written where these are all.

    Raises
    ------
    UsageError
        If the file cannot be understood as jobs.
    WriteFailedError
        If table or collection cannot be written.
    """
    every = list_jobs(file, restart=restart)
    check_layers(file, every)
    jobs = part.of(every)
    log.info("%s: %s", file.path, counted(len(jobs), "job"))
    results = file.results if part == WHOLE else None
    outcomes = run_jobs(
        jobs,
        listener,
        results=results,
        title=file.path.name,
        layers=layers_of(file),
        restart_changed=restart_changed,
    )
    return BatchResult(outcomes, file.results, has_written=results is not None)


def run_jobs(
    jobs: Sequence[Job],
    listener: BatchListener,
    *,
    results: Path | None,
    title: str,
    layers: Layers = NONE,
    restart_changed: bool = False,
    do: DoJob | None = None,
) -> tuple[JobOutcome, ...]:
    """Run every job that is not finished, and write table and collection, also when interrupted.

    Parameters
    ----------
    jobs
        Each with an output directory of its own.
    listener
        Told of jobs, stages, tiles and warnings.
    results
        Folder or URL of table and collection; None writes none.
    title
        What the jobs are of: the name of the jobs file, or of a folder.
    layers
        Files over all scenes.
    restart_changed
        Throw away what jobs left whose source or settings are not what they were.
    do
        Runs one of them; None: `run_job`.

    Raises
    ------
    WriteFailedError
        If table or collection cannot be written.
    """
    if results is not None:
        check_right(results, layers)
    outcomes = [JobOutcome(job, "waiting") for job in jobs]
    try:
        with (
            SharedExecutor(listener.note, in_flight=True) as executor,
            segmenters_kept(),
            interruption(listener.warn) as asked,
        ):

            def run(job: Job, told: Listener, in_flight: InFlight, device: str | None) -> JobOutcome:
                return (do or run_job)(job, told, executor, Way(restart_changed, in_flight, device))

            def end(index: int, outcome: JobOutcome) -> None:
                outcomes[index] = outcome
                listener.job_ends(outcome)

            def start(job: Job) -> None:
                listener.job_starts(job, len(jobs))

            JobStream(run, listener, start, end, asked, executor.capacity).run(jobs)
    finally:
        if results is not None:
            notes, outcomes[:] = write_results(results, title, outcomes, layers)
            for note in notes:
                listener.warn(note)
    return tuple(outcomes)


def run_job(job: Job, listener: Listener, executor: SharedExecutor, way: Way) -> JobOutcome:
    """Run one job; whatever is wrong with it is in the outcome."""
    with logged_as(job=job.name):
        log.info("begins: job %d, %s", job.number, shown_name(job.config.source))
        outcome = _outcome(job, listener, executor, way)
        level = logging.ERROR if outcome.has_failed else logging.INFO
        reason = {"reason": outcome.error, "scene": shown_name(job.config.source)} if outcome.error else {}
        log.log(level, "ends: %s, %.1f s%s", outcome.state, outcome.seconds,
                f": {outcome.error}" if outcome.error else "", extra=reason)  # fmt: skip
    return outcome


def _outcome(job: Job, listener: Listener, executor: SharedExecutor, way: Way) -> JobOutcome:
    started = perf_counter()
    try:
        if job.mosaic is not None:
            write_mosaic(job.mosaic, Path(job.config.source))
        with executor.of(job.config) as workers:
            result = _segment(job.config, listener, workers, way)
    except ChangedRunError as error:
        return JobOutcome(job, "changed", one_line(error), perf_counter() - started)
    except SegmentTilesError as error:
        return JobOutcome(job, "failed", one_line(error), perf_counter() - started)
    except Exception as error:
        log.exception("an error that was not foreseen", extra={"told": True})
        text = describe_unforeseen(error, ["batch", f"({shown_name(job.config.source)})"])
        return JobOutcome(job, "failed", text, perf_counter() - started)
    seconds = perf_counter() - started
    if result.failures:
        return JobOutcome(job, "failed", _failed_parts(result.failures), seconds, kept_of(result.report))
    return JobOutcome(
        job, "skipped" if result.was_finished else "done", None, seconds, kept_of(result.report)
    )


def _segment(config: RunConfig, listener: Listener, executor: Executor, way: Way) -> RunResult:
    if way.whole_on is not None:
        result = segment_on_worker(config, listener, executor, way.whole_on, way.in_flight)
        if result is not None:
            return result
    try:
        return _computed_and_finished(config, listener, executor, way.in_flight)
    except ChangedRunError as error:
        if not way.restart_changed:
            raise
        listener.warn(f"begun anew: {one_line(error)}")
        return _computed_and_finished(replace(config, restart=True), listener, executor, way.in_flight)


def _computed_and_finished(
    config: RunConfig, listener: Listener, executor: Executor, in_flight: Alone
) -> RunResult:
    """Run a job, and let a worker finish it if workers have computed it."""
    result = segment(config, listener, executor, in_flight, leaves_finishing=True)
    if not result.awaits_finishing:
        return result
    finished = finish_on_worker(result, config, listener, executor, in_flight)
    if finished is not None:
        return finished
    return segment(replace(config, restart=False), listener, executor, in_flight)


def _failed_parts(failures: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of the windows that could not be done, and how many there are."""
    window = failures[0]["window"]
    more = f" (and {counted(len(failures) - 1, 'more part')})" if len(failures) > 1 else ""
    return f"rows {window['row']} to {window['row'] + window['height']}: {failures[0]['reason']}{more}"
