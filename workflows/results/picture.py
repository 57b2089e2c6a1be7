"""The preview of a run, which it can do without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segment_tiles.pipeline.errors import ReadFailedError, SourceError, one_line
from segment_tiles.pipeline.names import without_secrets
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.finished_report import is_there

PREVIEW = "preview.png"


def try_preview(directory: OutputDirectory, draw: Callable[[Path], None]) -> tuple[list[str], list[str]]:
    """Draw the preview if there is none; return its name, or none and why: a map without one is a map all the same.

    One that is there is whole and of this map, which has the same bytes after every start.
    """
    path = directory.path / PREVIEW
    if is_there(path):
        return [PREVIEW], []
    try:
        draw(path)
    except (SourceError, ReadFailedError) as error:
        return [], [
            f"{PREVIEW} was not drawn, because the source cannot be read: {without_secrets(one_line(error))}"
        ]
    return [PREVIEW], []
