"""What an earlier start of a run left: checked, mended, and brought into a state that can be continued.

::

    .segment-tiles/run.json         settings and choices; without it nothing else here counts
    .segment-tiles/ledger/          a row of shards is done where its file here is whole and its shards are kept
                                    beside it, until the preview is drawn, what the row saw of the source
    .segment-tiles/classes.zarr     the store in work, made under another name and renamed
    .segment-tiles/computed.json    the report, once every row is done: formats need no network
    .segment-tiles/store.json       seals of the whole store; written just before it gets its final name
    classes.zarr                    the store, whole

What does not hold is computed again, and the rest is kept.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import (
    PARTIAL,
    put_in_place,
    remove,
    remove_leftovers,
    sync_folder,
    write_whole,
)
from segment_tiles.pipeline.errors import OutputError, RunFailedError
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.seals import (
    as_plain,
    from_plain,
    is_tree_kept,
    read_sealed,
    seals_of_tree,
    write_sealed,
)
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.plans.record import RunRecord
from segment_tiles.workflows.scenes.kind import WorkStore

log = logging.getLogger(__name__)

AGAIN: Final = "what an earlier start left is damaged ({what}): that part is computed again"


def take_up(
    directory: OutputDirectory, stores: Sequence[WorkStore], record: RunRecord | None, *, restart: bool
) -> list[str]:
    """Bring the output directory into a state that can be continued; return what the user should know.

    Raises
    ------
    OutputError
        If results lie there without the record of their run.
    WriteFailedError
        If the disk is full or read-only.
    """
    try:
        return _taken_up(directory, stores, record, restart=restart)
    except OSError as error:
        raise write_failed(directory.own, error) from error


def _taken_up(
    directory: OutputDirectory, stores: Sequence[WorkStore], record: RunRecord | None, *, restart: bool
) -> list[str]:
    directory.remove_leftovers()
    if record is None:
        if not restart:
            _refuse_results_of_nobody(directory)
        return []
    if directory.store.exists():
        if is_store_kept(directory) and (
            read_computed(directory, record) is not None or _is_covered(stores[0])
        ):
            return []
        _back_into_work(directory)
        notes = [AGAIN.format(what=directory.store)]
    else:
        notes = []
    for store in stores:
        notes += _mended(store, directory.own)
    if notes or not _is_covered(stores[0]):
        directory.computed.unlink(missing_ok=True)
    return notes


def _refuse_results_of_nobody(directory: OutputDirectory) -> None:
    if directory.store.exists() or directory.report.exists():
        msg = (
            f"--out {directory.path}: holds results, but {directory.record} is gone, so that nobody can tell of "
            "which run; begin anew with --restart, or give another folder"
        )
        raise OutputError(msg)


def _back_into_work(directory: OutputDirectory) -> None:
    """Take the final name from a store that is not whole any more."""
    remove(directory.store_in_work)
    for stale in (directory.seals, directory.computed):
        stale.unlink(missing_ok=True)
    directory.store.replace(directory.store_in_work)
    sync_folder(directory.own)
    sync_folder(directory.path)


def _mended(store: WorkStore, own: Path) -> list[str]:
    """Make a store if there is none; else put its metadata right and forget rows that are damaged."""
    if not store.path.is_dir():
        remove(store.path)
        had_rows = store.ledger.forget()
        store.create(store.path)
        return [AGAIN.format(what=f"{store.path} is gone")] if had_rows else []
    damaged = store.ledger.keep_what_is_sound(store.path)
    counted = {store.path / name for entry in store.ledger.entries() for name in entry.shards}
    fresh = own / f"fresh.zarr{PARTIAL}"
    store.create(fresh)
    try:
        metadata = {store.path / file.relative_to(fresh): file for file in fresh.rglob("*") if file.is_file()}
        for file, right in metadata.items():
            _put_right(right, file)
    finally:
        remove(fresh)
    # the rest is of rows in work: zarr would read it to write beside it, and it may be damaged
    for parent, _, names in os.walk(store.path):
        for file in (Path(parent, name) for name in names):
            if file not in counted and file not in metadata:
                file.unlink()
    rows = "1 row" if damaged == 1 else f"{damaged} rows"
    return [AGAIN.format(what=f"{rows} of shards in {store.path}")] if damaged else []


def _put_right(fresh: Path, file: Path) -> None:
    if file.is_file() and file.read_bytes() == fresh.read_bytes():
        return
    remove(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, fresh.read_bytes())


def begin(directory: OutputDirectory, stores: Sequence[WorkStore], *, restart: bool) -> None:
    """Throw away what is there of a run without a record, with ``--restart`` all results, and create the stores.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    try:
        if restart:
            directory.clear()
        else:
            directory.clear_work()
    except OSError as error:
        raise write_failed(directory.own, error) from error
    for store in stores:
        store.create(store.path)


def require_whole(stores: Sequence[WorkStore]) -> None:
    """Refuse to make anything of a store that has holes.

    Raises
    ------
    RunFailedError
        Naming the store.
    """
    for store in stores:
        if not _is_covered(store):
            msg = f"{store.path}: rows are missing, though no part failed; start the same command again"
            raise RunFailedError(msg)


def _is_covered(store: WorkStore) -> bool:
    """Return whether the ledger has all rows of shards of a store."""
    shape = store.shape
    rows, columns = shard_shape(shape[-1])
    shard_rows = math.prod(shape[:-2]) * -(-shape[-2] // rows)
    expected = {(row, column) for row in range(shard_rows) for column in range(-(-shape[-1] // columns))}
    return expected <= store.ledger.finished().keys()


def give_store_its_name(directory: OutputDirectory) -> None:
    """Seal the store, wait until all of it is on the disk, and give it its final name.

    What workers left that were killed while they wrote a shard goes first: others did their tasks, under other names.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    try:
        remove_leftovers(directory.store_in_work)
        known = {
            name: seal for entry in Ledger(directory.ledger).entries() for name, seal in entry.shards.items()
        }
        seals = seals_of_tree(directory.store_in_work, known)
        write_sealed(directory.seals, {"files": as_plain(seals)})
        put_in_place(directory.store_in_work, directory.store)
        sync_folder(directory.own)
    except OSError as error:
        raise write_failed(directory.store, error) from error


def is_store_kept(directory: OutputDirectory, *, sizes_only: bool = False) -> bool:
    """Return whether the store under its final name is what was written."""
    fields = read_sealed(directory.seals)
    if fields is None:
        return False
    return is_tree_kept(directory.store, from_plain(fields["files"]), sizes_only=sizes_only)


def write_computed(directory: OutputDirectory, report: dict[str, Any], request: dict[str, Any]) -> None:
    """Keep the report of a run whose every row is done.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    try:
        write_sealed(directory.computed, {"report": report, "request": request})
    except OSError as error:
        raise write_failed(directory.computed, error) from error


def read_computed(directory: OutputDirectory, record: RunRecord | None) -> dict[str, Any] | None:
    """Return the report of a run whose every row is done, with the times of all starts; None if none is kept."""
    kept = read_sealed(directory.computed)
    if kept is None or record is None or kept["report"]["fingerprint"] != record.fingerprint:
        return None
    return dict(kept["report"])
