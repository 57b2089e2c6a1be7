"""What is known of a run whose output directory may be a URL before it begins: nothing is written there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.layout import OWN_FOLDERS, RECORD
from segment_tiles.workflows.buckets.result import BucketResult, opened
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.plans.record import read_record
from segment_tiles.workflows.results.formats.format import tell_nobody
from segment_tiles.workflows.run import request as on_a_disk
from segment_tiles.workflows.run.finish import is_finished
from segment_tiles.workflows.scenes.scene import Scene

_RECORDS: Final = frozenset(f"{own}/{RECORD}" for own in OWN_FOLDERS)


def plan_run(config: RunConfig, *, with_output: bool = False, alone: bool = True) -> Plan:
    """Return what a run would do; parameters and errors are those of `workflows.run.request.plan_run`.

    Raises
    ------
    PlaceError
        If there is no such bucket, or it does not answer. The right to write there is not asked.
    """
    if not with_output:
        return on_a_disk.plan_run(config, alone=alone)
    with _looked_at(config, _RECORDS.__contains__) as (local, _):
        return on_a_disk.plan_run(local, with_output=True, alone=alone)


def checked_request(config: RunConfig) -> tuple[RunConfig, Scene]:
    """Return what is decided of a run, as `workflows.run.request.checked_request`; its output is a folder here then.

    Raises
    ------
    PlaceError
        If there is no such bucket, or it does not answer.
    SegmentTilesError
        As of a run into a folder.
    """
    with _looked_at(config, _RECORDS.__contains__) as (local, _):
        return on_a_disk.checked_request(local)


def is_finished_and_same(config: RunConfig) -> bool:
    """Return whether a run would find everything done.

    Raises
    ------
    ChangedRunError
        If its output directory holds a run with another source or other settings.
    SegmentTilesError
        If the run could not start.
    """
    # what is compared byte for byte are books and the metadata of Zarr; of all else the size
    with _looked_at(config, lambda key: key.endswith(".json")) as (local, result):
        directory = OutputDirectory(local.out)
        if read_record(directory.record) is None:
            return False
        decided, _ = on_a_disk.checked_request(local)
        if result is not None:
            _stand_in(result)
        return is_finished(directory, decided)


@contextmanager
def _looked_at(
    config: RunConfig, is_wanted: Callable[[str], bool]
) -> Iterator[tuple[RunConfig, BucketResult | None]]:
    """Give the run with an output directory on this disk: of a URL a folder, into which what is wanted was brought."""
    config = replace(config, out=on_this_disk(config.out))
    address = address_of(config.out)
    if address is None:
        yield config, None
        return
    with opened(address, tell_nobody, only_looks=True) as result, said_of(address, result.folder):
        result.fetch(is_wanted)
        yield replace(config, out=result.folder), result


def _stand_in(result: BucketResult) -> None:
    """Put files of the same sizes, without content, where those of a whole result would be."""
    mark = result.mark() or {"objects": {}}
    for key, size in mark["objects"].items():
        path: Path = result.folder / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(size)
