"""Formats of a class map that lie on another grid than it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from segment_tiles.pipeline.durable import PARTIAL
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.workflows.output_folder.directory import OWN_FOLDER
from segment_tiles.workflows.results.formats.format import Work


@contextmanager
def on_other_grid(work: Work) -> Iterator[Work]:
    """Give a finished run as it is on the grid that its subject asks for; of sizes of classes pixels alone.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    from segment_tiles.pipeline.outputs.warped_map import warped_store  # noqa: PLC0415 - few runs ask for it

    grid = work.subject.warped
    assert grid is not None  # the caller asked
    # under such a name the next run removes what a killed export left
    path = work.folder / OWN_FOLDER / f"warped.zarr{PARTIAL}"
    try:
        with warped_store(path, work.group, grid) as (group, counts):
            classes = [
                {"code": entry.code, "name": entry.name, "pixels": count}
                for entry, count in zip(work.subject.table.classes, counts, strict=True)
            ]
            report = {**work.report, "classes": classes}
            yield replace(work, group=group, report=report, subject=work.subject.of_files)
    except OSError as error:
        raise write_failed(path, error) from error
