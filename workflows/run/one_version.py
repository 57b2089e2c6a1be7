"""Regions are done while the source stays what it was: a change ends the run, and its rows are not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from segment_tiles.pipeline.errors import SourceChangedError
from segment_tiles.pipeline.sources.versions.version import KnownVersion
from segment_tiles.pipeline.sources.versions.watch import SourceWatch
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.record import RunRecord, write_record

Result = TypeVar("Result")


class _OrChanged(Interruption):
    """Asks to stop for the user, or because the source has changed."""

    def __init__(self, asked: Interruption, watch: SourceWatch) -> None:
        super().__init__()
        self._asked, self._watch = asked, watch

    def is_requested(self) -> bool:
        """Return whether to stop; asked when a row of shards is done, and a few times a second by a cluster."""
        return self._asked.is_requested() or self._watch.has_changed()


def on_one_version(
    do: Callable[[Interruption], Result],
    asked: Interruption,
    known: KnownVersion,
    directory: OutputDirectory,
    record: RunRecord,
) -> Result:
    """Return what is done with a source, if it was one all the while.

    Raises
    ------
    SourceChangedError
        If it is another, or was one in between. The record then says so: rows may be of two versions, and are not
        continued even if the first one comes back. A source that has only gone may come back as it was.
    """
    watch = SourceWatch(known)
    try:
        result = do(_OrChanged(asked, watch))
        watch.require_same()
    except SourceChangedError:
        became = watch.became or known.now()
        if became is not None:
            mixed = {**record.settings, "source version": {"was": known.before, "became": became}}
            write_record(directory.record, RunRecord(mixed, record.choices))
        raise
    return result
