"""The main job: a source and a model in, an output directory with class map and everything beside it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from dataclasses import replace
from time import perf_counter

from segment_tiles.pipeline.errors import ReadFailedError, SourceError
from segment_tiles.pipeline.models.registry import portable_name
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote
from segment_tiles.pipeline.sources.versions.ranges import begin_reading
from segment_tiles.pipeline.sources.versions.version import (
    KnownVersion,
    known_version,
    reads_overviews,
    require_equal,
    source_version,
    unwatched_note,
    with_guard,
)
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor, executor_for
from segment_tiles.workflows.logs.context import logged_as
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.record import check_same_run, read_record, settings_of
from segment_tiles.workflows.results.report import read_report
from segment_tiles.workflows.run.finish import finish, is_finished
from segment_tiles.workflows.run.in_flight import ALONE, Alone
from segment_tiles.workflows.run.listener import Listener, LoggedListener, RunResult
from segment_tiles.workflows.run.request import checked_request
from segment_tiles.workflows.run.run import Run
from segment_tiles.workflows.run.taken_up import read_computed, take_up, write_computed
from segment_tiles.workflows.run.without_source import complete_without_source, request_of
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.stack_source import with_resolved_source

log = logging.getLogger(__name__)

__all__ = ["Listener", "RunResult", "segment"]


def segment(
    config: RunConfig,
    listener: Listener,
    executor: Executor | None = None,
    in_flight: Alone = ALONE,
    *,
    leaves_finishing: bool = False,
) -> RunResult:
    """Run, or go on with what an earlier start of the same run left.

    Parameters
    ----------
    config
        What is asked for.
    listener
        Told how it goes.
    executor
        Where Regions are done; it is left open. None starts what the configuration names and closes it.
    in_flight
        What it shares with other runs, each in a thread of its own.
    leaves_finishing
        Whether, if Regions are done elsewhere, the caller has the rest made there too: ``awaits_finishing`` says so.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when what was in flight is finished; a second one raises at once.
    SegmentTilesError
        If the run cannot start, or cannot write. Reads that fail on the way do not raise: they
        are in ``RunResult.failures``, and starting again tries them again.
    """
    started = perf_counter()
    config = with_resolved_source(config)
    overviews = reads_overviews(config.level, config.view)
    known = with_guard(known_version(config.source, overviews=overviews))  # before it is opened
    with_overviews = _with_overviews(known, config)
    begin_reading(config.source, known.before, anew=True)
    with logged_as(scene=shown_name(config.source)), known.guard.applied():
        finished_by = executor if leaves_finishing else None
        heard = listener if isinstance(listener, LoggedListener) else LoggedListener(listener)
        return _segment(config, known, with_overviews, heard, executor, started, in_flight, finished_by)


def _with_overviews(known: KnownVersion, config: RunConfig) -> KnownVersion:
    """Return the version with overviews beside the source: only when it is open is known whether it is resampled."""
    if known.overviews or config.resolution == "native" or is_remote(known.uri):
        return replace(known, overviews=True)
    return replace(known, before=source_version(known.uri, overviews=True), overviews=True)


def _segment(
    asked: RunConfig,
    known: KnownVersion,
    with_overviews: KnownVersion,
    listener: Listener,
    executor: Executor | None,
    started: float,
    in_flight: Alone,
    finished_by: Executor | None,
) -> RunResult:
    directory = OutputDirectory(asked.out)
    try:
        config, scene = checked_request(asked)
    except (SourceError, ReadFailedError) as error:
        report = complete_without_source(asked, directory, error, known.before, with_overviews.before)
        if report is None:
            raise
        return _told(RunResult(report, was_finished=True), listener)
    _log_opened(config, scene)
    known = with_overviews if reads_overviews(config.level, scene.view) else known
    config = replace(config, companions=tuple(portable_name(folder) for folder, _ in scene.companions))
    with directory.locked_for():
        settings = settings_of(config, scene)
        run = Run(
            config, scene, directory, settings, known, listener, segment, started, in_flight,
            leaves_finishing=finished_by is not None,
        )  # fmt: skip
        require_equal(scene.uri, known.before, run.settings["source version"])
        return _done(run, asked, executor, finished_by)


def _done(run: Run, asked: RunConfig, executor: Executor | None, finished_by: Executor | None) -> RunResult:
    """Do what is missing of a run whose output directory is locked, or all but what others finish elsewhere."""
    config, directory = run.config, run.directory
    # once more: another run may have come to its end here meanwhile
    run.record = None if config.restart else read_record(directory.record)
    if run.record is not None:
        check_same_run(run.record, run.settings, config, config.out)
        log.info("goes on with what an earlier start left: %s", _left(directory))
        if is_finished(directory, config):
            log.info("was finished before")
            # nothing depends on it, and the folder of a finished run may be read-only
            with suppress(OSError):
                directory.remove_leftovers()
            return RunResult(read_report(directory) or {}, was_finished=True)
    unwatched = unwatched_note(run.scene.uri, run.known.before)
    run.notes = (
        *take_up(directory, run.stores, run.record, restart=config.restart),
        *((unwatched,) if unwatched else ()),
    )
    for note in run.notes:
        run.listener.warn(note)
    report = read_computed(directory, run.record)
    if report is None:
        with ExitStack() as stack:
            report = run.compute(executor or stack.enter_context(executor_for(config, run.listener.stage)))
        if report["failures"]:
            return RunResult(report, was_finished=False)
        seconds = {**report["seconds"], "total": round(perf_counter() - run.started, 3)}
        write_computed(directory, {**report, "seconds": seconds}, request_of(asked))
    if finished_by is not None and finished_by.start().is_elsewhere:
        return RunResult(report, was_finished=False, awaits_finishing=True)
    report = finish(run, report)
    write_computed(directory, report, request_of(asked))
    log.info("written: %s", ", ".join(report["outputs"]))
    return RunResult(report, was_finished=False)


def _log_opened(config: RunConfig, scene: Scene) -> None:
    spec = scene.spec
    log.info(
        "opened: %s of %d x %d pixels, %s of %s; model %s, tiles of %d px, overlap %d px; into %s",
        scene.kind, spec.width, spec.height, counted(spec.bands, "band"), spec.dtype, scene.manifest.name,
        scene.lattice.tile, scene.lattice.overlap, config.out,
    )  # fmt: skip


def _left(directory: OutputDirectory) -> str:
    """Return what an earlier start left, as the log says it."""
    if directory.store.exists():
        return "all rows are done"
    return f"{counted(len(Ledger(directory.ledger).finished()), 'shard is', 'shards are')} done"


def _told(result: RunResult, listener: Listener) -> RunResult:
    for text in result.report["warnings"]:
        listener.warn(text)
    return result
