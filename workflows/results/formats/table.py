"""The table of Formats: ours and those of installed distributions, by name."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.plugins import Registry
from segment_tiles.workflows.results.formats.format import Format

FORMATS: Final = Registry("segment_tiles.formats", "format", Format, alone=attrgetter("file"))
STORE: Final = "zarr"
"""The format that every run has: all others are made of it."""


def format_names() -> tuple[str, ...]:
    """Return what ``--format`` accepts, the store first; nothing is loaded."""
    return (STORE, *(name for name in FORMATS.names() if name != STORE))


def format_of(name: str) -> Format:
    """Return a Format by its name.

    Raises
    ------
    UsageError
        If there is none, or it cannot be loaded.
    """
    found = FORMATS.get(name)
    if found is None:
        msg = f"--format names {name!r}; it must be of {', '.join(n for n in format_names() if n != name)}"
        raise UsageError(msg)
    return found


def files_of(names: Sequence[str], folder: Path) -> list[Path]:
    """Return the files of formats in an output directory; of polygons by class there are several, or none."""
    # bring Zarr, which the command line does without while it reads the table of formats
    from segment_tiles.workflows.output_folder.directory import OWN_FOLDER  # noqa: PLC0415
    from segment_tiles.workflows.output_folder.made import files_by_class  # noqa: PLC0415

    several = files_by_class(folder / OWN_FOLDER)
    return [folder / file for name in names for file in several.get(name, [format_of(name).file])]


def format_of_file(name: str) -> Format | None:
    """Return the Format whose file has this name, or that of one class, if there is one."""
    known = tuple(FORMATS.all())
    exact = next((entry for entry in known if entry.file == name), None)
    if exact is not None:
        return exact
    of_classes = []
    for entry in known:
        head, _, tail = entry.file.partition(".")
        if entry.vector is not None and name.startswith(f"{head}.") and name.endswith(f".{tail}"):
            of_classes.append(entry)
    return max(of_classes, key=lambda entry: len(entry.file), default=None)
