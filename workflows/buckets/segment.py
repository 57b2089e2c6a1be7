"""A run whose output directory may be a URL: it is made in a folder here, and published when it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from typing import Any, Final

from segment_tiles.pipeline.errors import (
    PlaceError,
    ReadFailedError,
    SourceChangedError,
    SourceError,
    WriteFailedError,
    one_line,
)
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.executor import SendingExecutor
from segment_tiles.workflows.buckets.layout import RECORD_KEY, REPORT_KEY
from segment_tiles.workflows.buckets.result import BucketResult, opened
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor, executor_for
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.report import read_report, write_report
from segment_tiles.workflows.run import segment as on_a_disk
from segment_tiles.workflows.run.in_flight import ALONE, Alone
from segment_tiles.workflows.run.listener import Listener, RunResult
from segment_tiles.workflows.run.request import checked_request

_NOT_ASKED: Final = {"out", "restart", "memory", "workers", "scheduler", "cluster", "trust"}
"""Options that change nothing in what is written."""
_PLACE: Final = "place"
"""Entry of a report: what was asked of the bucket."""


def segment(
    config: RunConfig,
    listener: Listener,
    executor: Executor | None = None,
    in_flight: Alone = ALONE,
    *,
    leaves_finishing: bool = False,
) -> RunResult:
    """Run into a folder or a bucket; parameters, result and errors are those of `workflows.run.segment.segment`.

    Raises
    ------
    PlaceError
        If there is no such bucket, or it does not let us write: nothing is computed then.
    SegmentTilesError
        As a run into a folder.
    """
    config = replace(config, out=on_this_disk(config.out))
    address = address_of(config.out)
    if address is None:
        return on_a_disk.segment(config, listener, executor, in_flight, leaves_finishing=leaves_finishing)
    with ExitStack() as stack:
        result = stack.enter_context(opened(address, listener.warn))
        stack.enter_context(said_of(address, result.folder))
        stack.enter_context(_kept(result))
        asked = _asked(config)
        if not config.restart:
            report = _of_finished(config, asked, result)
            if report is not None:
                return RunResult(report, was_finished=True)
            result.fetch()
        inner = executor or stack.enter_context(executor_for(config, listener.stage))
        local = replace(config, out=result.folder)
        made = on_a_disk.segment(local, listener, SendingExecutor(inner, result), in_flight)
        made = _published(made, asked, result, listener)
    if made.was_finished:
        return made
    # now also what came after the report was written
    return replace(made, report={**made.report, _PLACE: _traffic(result)})


@contextmanager
def _kept(result: BucketResult) -> Iterator[None]:
    """Say of a place that stops to answer in the middle that finished rows are kept.

    Raises
    ------
    SourceChangedError
        As it was; the record in the place says so too.
    WriteFailedError
        In place of what the place says.
    """
    try:
        yield
    except SourceChangedError:
        if result.has_begun:
            result.begin()  # the record says that rows may be of two versions
        raise
    except PlaceError as error:
        if not result.has_begun:
            raise
        msg = f"{one_line(error)}; finished rows are kept: start the same command again"
        raise WriteFailedError(msg) from error


def _published(
    made: RunResult, asked: Mapping[str, Any], result: BucketResult, listener: Listener
) -> RunResult:
    """Write what was made into the bucket; of a run that parts of failed its report alone."""
    if made.was_finished and result.is_whole:
        result.publish(asked)
        return made
    directory = OutputDirectory(result.folder)
    listener.stage("upload")
    report = read_report(directory) or made.report

    def write() -> None:
        write_report(directory, {**report, _PLACE: _traffic(result)})

    if made.failures:
        write()
        result.publish_report()
    else:
        result.publish(asked, write)
    return replace(made, report={**report, _PLACE: _traffic(result)})


def _traffic(result: BucketResult) -> dict[str, Any]:
    return {"url": result.address, **result.traffic()}


def _of_finished(config: RunConfig, asked: Mapping[str, Any], result: BucketResult) -> dict[str, Any] | None:
    """Return the report of a run that was asked for in the same words and is whole, or None.

    Raises
    ------
    SegmentTilesError
        If source, model or a file that it names is another one now.
    """
    mark = result.mark()
    if mark is None or mark["request"] != asked:
        return None
    result.fetch(lambda key: key in {RECORD_KEY, REPORT_KEY})
    report = read_report(OutputDirectory(result.folder))
    if report is None or report["status"] != "complete":
        return None
    try:
        checked_request(replace(config, out=result.folder))
    except (SourceError, ReadFailedError):
        return None  # the source has gone: whether that matters is asked of the whole result
    return report


def _asked(config: RunConfig) -> dict[str, Any]:
    """Return what the user asked for, as plain values."""
    names = [field.name for field in fields(config) if field.name not in _NOT_ASKED]
    return {name: without_secrets(repr(getattr(config, name))) for name in names}
