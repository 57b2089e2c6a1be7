"""Formats made of a finished class map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.idle_cores import finishing_threads
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.polygons.polygonize import take_up_tiles
from segment_tiles.workflows.results.finished_report import is_there
from segment_tiles.workflows.results.formats.format import AS_USUAL, Format, FormatOptions, Work
from segment_tiles.workflows.results.formats.table import format_of

Make = Callable[[Work, Sequence[Format]], Sequence[str]]


def missing_results(
    directory: OutputDirectory, names: Sequence[str], options: FormatOptions = AS_USUAL
) -> list[str]:
    """Return the formats that the output directory does not have, or not as asked for."""
    return [name for name in names if not _is_made(format_of(name), directory.path, options)]


def _is_made(wanted: Format, folder: Path, options: FormatOptions) -> bool:
    return is_there(folder / wanted.file) if wanted.is_made is None else wanted.is_made(folder, options)


def make_formats(work: Work, names: Sequence[str]) -> list[str]:
    """Make formats of a finished store, replacing older files, and return what the user should know of them.

    Those that are apart are made in threads beside the others; if one fails, the rest comes to its end first.
    """
    formats = [format_of(name) for name in names]
    take_up_tiles(work.folder, [work.folder / wanted.file for wanted in formats if wanted.vector is not None])
    together: dict[Make, list[Format]] = {}
    for wanted in formats:
        together.setdefault(wanted.make, []).append(wanted)
    apart = {make: group for make, group in together.items() if all(wanted.is_apart for wanted in group)}
    if len(together) == 1 or finishing_threads() == 1:
        apart = {}
    with ThreadPoolExecutor(max(1, len(apart)), thread_name_prefix="formats") as pool:
        begun = {make: _begun(pool, make, work, group) for make, group in apart.items()}
        notes = {make: make(work, group) for make, group in together.items() if make not in begun}
        notes.update({make: made.result() for make, made in begun.items()})
    return [note for make in together for note in notes[make]]


def _begun(
    pool: ThreadPoolExecutor, make: Make, work: Work, group: Sequence[Format]
) -> Future[Sequence[str]]:
    """Begin to make formats in a thread; the listener is told here, for it need not bear several."""
    work.stage(group[0].file)
    return pool.submit(copy_context().run, make, replace(work, stage=_tell_nobody), group)


def _tell_nobody(_stage: str) -> None:
    """The stage was told when it began."""
