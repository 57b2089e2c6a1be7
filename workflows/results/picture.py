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
    """Draw the preview; return its name, or none and why: a map without a picture is a map all the same."""
    path = directory.path / PREVIEW
    try:
        draw(path)
    except (SourceError, ReadFailedError) as error:
        if is_there(path):
            return [PREVIEW], []
        return [], [
            f"{PREVIEW} was not drawn, because the source cannot be read: {without_secrets(one_line(error))}"
        ]
    return [PREVIEW], []
