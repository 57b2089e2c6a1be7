"""Writes table, layers and collection of a batch into a folder or to a URL; layers may have places of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from segment_tiles.pipeline.errors import PlaceError, WriteFailedError, one_line
from segment_tiles.pipeline.outputs.finished_file import make_output_folder
from segment_tiles.pipeline.outputs.qgis_style import style_path
from segment_tiles.workflows.batch.layers.wanted import NONE, Layers
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.results.collection import COLLECTION, write_collection
from segment_tiles.workflows.batch.results.table import write_table
from segment_tiles.workflows.buckets.address import address_of
from segment_tiles.workflows.buckets.written import require_right, written_here


@dataclass(frozen=True, slots=True)
class _Here:
    """Where the files of a batch are written on this disk."""

    folder: Path
    layers: Layers


def check_right(results: Path, layers: Layers) -> None:
    """Try to write where results and layers go that have a URL, before anything is computed.

    Raises
    ------
    UsageError
        If a URL names a bucket, but nothing in it.
    PlaceError
        If there is no such bucket or no right to write into it.
    """
    for path in (results, *layers.files):
        address = address_of(path)
        if address is not None and not (path != results and path.is_relative_to(results)):
            require_right(address)


def write_results(
    results: Path, title: str, outcomes: Sequence[JobOutcome], layers: Layers = NONE
) -> tuple[list[str], tuple[JobOutcome, ...]]:
    """Write the table of jobs, the layers over them and the collection; return what the user should know.

    And what became of the jobs: one whose results are found to be damaged has failed.

    Raises
    ------
    WriteFailedError
        If a disk is full or read-only, or a bucket does not answer.
    VectorError
        If the polygons of a scene have no position in the CRS of their layer.
    """
    try:
        with _here(results, layers) as here:
            return _written(here, results, title, outcomes, layers)
    except PlaceError as error:
        msg = f"{one_line(error)}; what the jobs made is kept: start the same command again"
        raise WriteFailedError(msg) from error


def _written(
    here: _Here, results: Path, title: str, outcomes: Sequence[JobOutcome], layers: Layers
) -> tuple[list[str], tuple[JobOutcome, ...]]:
    make_output_folder(here.folder)
    write_table(here.folder, outcomes)
    notes: list[str] = []
    try:
        if layers.files:
            from segment_tiles.workflows.batch.layers.write import write_layers  # noqa: PLC0415 - brings geopandas

            said, found = write_layers(here.layers, outcomes)
            notes += said
            if any(now.state != before.state for now, before in zip(found, outcomes, strict=True)):
                write_table(here.folder, found)
            outcomes = found
    finally:
        there = dict(zip(here.layers.files, layers.files, strict=True))
        notes += write_collection(here.folder, title, outcomes, there, results)
    return notes, tuple(outcomes)


@contextmanager
def _here(results: Path, layers: Layers) -> Iterator[_Here]:
    """Give the folder and the layers as they are written on this disk; what has a URL goes there at the end.

    The style beside the merged polygons is brought, since one of a user stays; polygons that are not written again are
    removed, as in a folder.
    """
    with ExitStack() as stack:

        def written(out: Path, merged: Path | None) -> Path:
            """Give where a folder or file is written, with the merged polygons at a path relative to its parent."""
            is_merged = () if merged is None else (merged,)
            return stack.enter_context(
                written_here(
                    out,
                    last=COLLECTION,
                    whatever_happens=True,
                    brought=lambda top: [style_path(top / path) for path in is_merged],
                    replaced=lambda top: [top / path for path in is_merged],
                )
            )

        inside = [path for path in layers.files if path.is_relative_to(results)]
        of_results = next((path.relative_to(results) for path in inside if path == layers.merged), None)
        folder = written(results, of_results)
        local = {path: folder / path.relative_to(results) for path in inside}
        for path in layers.files:
            if path not in local:
                local[path] = written(path, Path() if path == layers.merged else None)
        named = replace(
            layers,
            merged=None if layers.merged is None else local[layers.merged],
            footprints=None if layers.footprints is None else local[layers.footprints],
        )
        yield _Here(folder, named)
