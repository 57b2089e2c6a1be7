"""Formats made of a finished class map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.polygons.polygonize import take_up_tiles
from segment_tiles.workflows.results.finished_report import is_there
from segment_tiles.workflows.results.formats.format import Format, Work
from segment_tiles.workflows.results.formats.table import files_of, format_of

Make = Callable[[Work, Sequence[Format]], Sequence[str]]


def missing_results(directory: OutputDirectory, names: Sequence[str]) -> list[str]:
    """Return the formats whose file is not in the output directory."""
    files = files_of(names, directory.path)
    return [name for name, file in zip(names, files, strict=True) if not is_there(file)]


def make_formats(work: Work, names: Sequence[str]) -> list[str]:
    """Make formats of a finished store, replacing older files, and return what the user should know of them."""
    formats = [format_of(name) for name in names]
    take_up_tiles(work.folder, [work.folder / wanted.file for wanted in formats if wanted.vector is not None])
    together: dict[Make, list[Format]] = {}
    for wanted in formats:
        together.setdefault(wanted.make, []).append(wanted)
    return [note for make, group in together.items() for note in make(work, group)]
