"""A run whose source has gone, when nothing but the preview would still need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from segment_tiles.pipeline.errors import SegmentTilesError, one_line
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.pipeline.outputs.stores.seals import read_sealed
from segment_tiles.pipeline.sources.versions.version import Version
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.pixels import MapGridSettings
from segment_tiles.workflows.options.polygons import PolygonSettings
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.record import check_same_source, read_record
from segment_tiles.workflows.results.finished_report import is_there
from segment_tiles.workflows.results.formats.make import missing_results
from segment_tiles.workflows.results.formats.subjects import format_options
from segment_tiles.workflows.results.picture import PREVIEW
from segment_tiles.workflows.results.report import write_report
from segment_tiles.workflows.run.taken_up import is_store_kept

NOT_OF_THE_RESULT: Final = {
    "out", "formats", "labels_inside", "memory", "workers", "scheduler", "cluster", "trust", "restart",
    "weights_beside",
    *(entry.field for entry in (*options_of(PolygonSettings), *options_of(MapGridSettings))),
}  # fmt: skip
"""Options on which no byte of the class map depends."""


def request_of(config: RunConfig) -> dict[str, Any]:
    """Return what the user asked for, as plain values: two equal requests of one source give one map."""
    names = [field.name for field in fields(config) if field.name not in NOT_OF_THE_RESULT]
    return {name: without_secrets(repr(getattr(config, name))) for name in names}


def _is_same_request(before: Mapping[str, str], config: RunConfig) -> bool:
    """Return whether a request asked for the same; one of an earlier version does not name all options."""
    usual = {field.name: repr(field.default) for field in fields(config)}
    now = request_of(config)
    return all(before.get(name, usual[name]) == value for name, value in now.items())


def complete_without_source(
    config: RunConfig,
    directory: OutputDirectory,
    error: SegmentTilesError,
    version: Version,
    with_overviews: Version,
) -> dict[str, Any] | None:
    """Return the report of a run that is complete but for its preview, and note that there is none.

    Parameters
    ----------
    config
        As the user gave it.
    directory
        With what an earlier start left.
    error
        Why the source cannot be read.
    version
        Of what lies there now, if anything does.
    with_overviews
        The same with overviews beside it, which count if the run was resampled.

    Returns
    -------
    dict or None
        None if anything else is missing, or was asked for in other words: the error is the answer then.

    Raises
    ------
    ChangedRunError
        If something else lies there: the map is not one of it.
    """
    if config.restart or not directory.computed.exists():
        return None
    with directory.locked_for():
        record, kept = read_record(directory.record), read_sealed(directory.computed)
        if record is None or kept is None or not _is_same_request(kept["request"], config):
            return None
        is_resampled = "--resolution" in record.settings
        check_same_source(record, with_overviews if is_resampled else version, config.out)
        report: dict[str, Any] = dict(kept["report"])
        if report["fingerprint"] != record.fingerprint or not _is_complete(config, directory, report):
            return None
        if config.preview and not is_there(directory.path / PREVIEW):
            note = f"{PREVIEW} was not drawn, because the source cannot be read: {without_secrets(one_line(error))}"
            report["outputs"] = [name for name in report["outputs"] if name != PREVIEW]
            report["warnings"] = [*(text for text in report["warnings"] if text != note), note]
            write_report(directory, report)
        return report


def _is_complete(config: RunConfig, directory: OutputDirectory, report: dict[str, Any]) -> bool:
    outputs = [name for name in report.get("outputs", ()) if name not in {PREVIEW, "report.json"}]
    return (
        bool(outputs)
        and all(is_there(directory.path / name) for name in outputs)
        and not missing_results(directory, config.formats, format_options(config))
        and is_store_kept(directory, sizes_only=True)
    )
