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
    """Return the files of formats in an output directory."""
    return [folder / format_of(name).file for name in names]


def format_of_file(name: str) -> Format | None:
    """Return the Format whose file has this name, if there is one."""
    return next((known for known in FORMATS.all() if known.file == name), None)
