"""Model packages that are written into a folder or to a URL, whose manifest comes last: it says that one is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.models.package import MANIFEST_FILE
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.buckets.address import address_of, on_this_disk
from segment_tiles.workflows.buckets.written import written_here
from segment_tiles.workflows.model_packages import stride, weights_import
from segment_tiles.workflows.model_packages.import_result import ImportResult
from segment_tiles.workflows.options.model_import import ImportRequest


def import_model(request: ImportRequest) -> ImportResult:
    """Make a model package, as `workflows.model_packages.weights_import.import_model`.

    Raises
    ------
    PlaceError
        If a bucket does not answer, or does not let us write; nothing is imported then.
    SegmentTilesError
        As into a folder.
    """
    with _package(request.out) as out:
        return weights_import.import_model(replace(request, out=out))


def change_output_stride(name_or_path: str, out: Path, output_stride: int) -> ModelManifest:
    """Write a package at another output stride, as `workflows.model_packages.stride.change_output_stride`.

    Raises
    ------
    PlaceError
        If a bucket does not answer, or does not let us write; nothing is changed then.
    SegmentTilesError
        As into a folder.
    """
    with _package(out) as folder:
        return stride.change_output_stride(name_or_path, folder, output_stride)


@contextmanager
def _package(out: Path) -> Iterator[Path]:
    """Give the folder in which a package is written, which goes to its URL whole.

    Raises
    ------
    OutputError
        If a package is there.
    PlaceError
        As `written_here`.
    """
    with written_here(out, last=MANIFEST_FILE) as folder:
        address = address_of(on_this_disk(out))
        if address is not None and place_at(address).read(MANIFEST_FILE):
            msg = f"--out {address}: is a model package already; name a new one"
            raise OutputError(msg)
        yield folder
