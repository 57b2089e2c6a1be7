"""Formats made of a finished class map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.context_pool import kept_thread
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.workflows.options.polygons import given_settings
from segment_tiles.workflows.output_folder.directory import OWN_FOLDER, OutputDirectory
from segment_tiles.workflows.output_folder.made import Way, begin_files, files_by_class, made_otherwise
from segment_tiles.workflows.polygons.polygonize import take_up_tiles
from segment_tiles.workflows.results.finished_report import is_there
from segment_tiles.workflows.results.formats.decided import decided_store
from segment_tiles.workflows.results.formats.format import AS_USUAL, Format, FormatOptions, Work, tell_nobody
from segment_tiles.workflows.results.formats.other_grid import on_other_grid
from segment_tiles.workflows.results.formats.reclassed import reclassed_report, reclassed_store
from segment_tiles.workflows.results.formats.table import format_of

Make = Callable[[Work, Sequence[Format]], Sequence[str]]


def missing_results(
    directory: OutputDirectory, names: Sequence[str], options: FormatOptions = AS_USUAL
) -> list[str]:
    """Return the formats that the output directory does not have, or not as asked for."""
    otherwise = made_otherwise(directory.own, {name: way_of(format_of(name), options) for name in names})
    return [
        name for name in names if name in otherwise or not _is_made(format_of(name), directory.path, options)
    ]


def way_of(wanted: Format, options: FormatOptions) -> Way:
    """Return what decides on the bytes of a file beside the class map, as far as it is not as usual."""
    way: dict[str, Any] = {} if wanted.vector is None else given_settings(options.polygons)
    if options.decided is not None and follows_thresholds(wanted):
        way["decided"] = options.decided.as_plain()
    if options.map_grid is not None and wanted.follows_grid:
        way["grid"] = options.map_grid.as_plain()
    if options.reclass is not None and wanted.has_map_classes:
        way["reclass"] = options.reclass.as_plain()
    return way


def follows_thresholds(wanted: Format) -> bool:
    """Return whether a format changes if the classes of a map are given by thresholds."""
    return wanted.has_map_classes or wanted.has_confidence


def _is_made(wanted: Format, folder: Path, options: FormatOptions) -> bool:
    if wanted.vector is not None and options.polygons.split_by_class:
        files = files_by_class(folder / OWN_FOLDER).get(wanted.name)
        return files is not None and all(is_there(folder / file) for file in files)
    return is_there(folder / wanted.file) if wanted.is_made is None else wanted.is_made(folder, options)


def make_formats(work: Work, names: Sequence[str]) -> list[str]:
    """Make formats of a finished store, replacing older files, and return what the user should know of them."""
    formats = [format_of(name) for name in names]
    ways = {wanted.name: (wanted.file, way_of(wanted, work.subject.options)) for wanted in formats}
    begin_files(work.folder / OWN_FOLDER, work.folder, ways)
    take_up_tiles(work.folder, [work.folder / wanted.file for wanted in formats if wanted.vector is not None])
    follow = [wanted for wanted in formats if wanted.follows_grid]
    if work.subject.warped is None or not follow:
        return _reclassed(work, formats)
    notes = _reclassed(work, [wanted for wanted in formats if not wanted.follows_grid])
    work.stage("another grid")
    with on_other_grid(work) as there:
        return notes + _reclassed(there, follow)


def _reclassed(work: Work, formats: list[Format]) -> list[str]:
    """Make formats, those with classes of the map by the reclass of the options."""
    reclass = work.subject.options.reclass
    if reclass is None:
        return _made(work, formats)
    notes = _made(work, [wanted for wanted in formats if not wanted.has_map_classes])
    changed = [wanted for wanted in formats if wanted.has_map_classes]
    if changed:
        with reclassed_store(work.folder / OWN_FOLDER, work.group, reclass) as group:
            table = ClassTable(reclass.classes, work.subject.table.objects)
            subject = replace(work.subject, table=table)
            report = reclassed_report(work.report, reclass)
            notes += _made(replace(work, group=group, report=report, subject=subject), changed)
    return notes


def make_decided(work: Work, names: Sequence[str]) -> list[str]:
    """Make formats of a finished store, those with classes by the thresholds of the options, and return the same."""
    asked = work.subject.options.decided
    if asked is None:
        return make_formats(work, names)
    usual = replace(work.subject, options=replace(work.subject.options, decided=None))
    others = [name for name in names if not follows_thresholds(format_of(name))]
    notes = make_formats(replace(work, subject=usual), others)
    with decided_store(work.folder / OWN_FOLDER, work.group, asked.decision) as (group, decided):
        options = replace(work.subject.options, decided=decided)
        report, subject = decided.report(work.report), replace(work.subject, options=options)
        changed = [name for name in names if name not in others]
        return notes + make_formats(replace(work, group=group, report=report, subject=subject), changed)


def _made(work: Work, formats: Sequence[Format]) -> list[str]:
    """Make formats, those that keep one core busy one after the other in a thread beside the others."""
    aside, others = (_together([f for f in formats if f.is_made_aside is side]) for side in (True, False))
    for group in aside.values():
        work.stage(", ".join(wanted.file for wanted in group))
    untold = replace(work, stage=tell_nobody)  # progress shows one stage at a time: the last that began
    with kept_thread("formats") as thread:
        waiting = [thread.submit(make, untold, group) for make, group in aside.items()]
        notes = [note for make, group in others.items() for note in make(work, group)]
        return [*(note for made in waiting for note in made.result()), *notes]


def _together(formats: Sequence[Format]) -> dict[Make, list[Format]]:
    """Return the formats that have the same ``make``."""
    together: dict[Make, list[Format]] = {}
    for wanted in formats:
        together.setdefault(wanted.make, []).append(wanted)
    return together
