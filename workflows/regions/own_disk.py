"""The disk that a Region is written on: that of the run, or the worker's own, from which finished rows are sent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from segment_tiles.pipeline.durable import make_folder
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.seals import ZARR_METADATA
from segment_tiles.pipeline.outputs.stores.sent_folder import taken_traffic
from segment_tiles.pipeline.outputs.stores.sent_rows import SentLedger
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask


@contextmanager
def on_disk(task: RegionTask, report: RegionReport) -> Iterator[tuple[RegionTask, Ledger]]:
    """Give a task with a store that lies on a disk of this machine, and the ledger that finished rows go into.

    Parameters
    ----------
    task
        As it was sent.
    report
        Told what was asked of a place.
    """
    if task.rows is None:
        yield task, Ledger(task.ledger)
        return
    with tempfile.TemporaryDirectory(prefix="segment-tiles-region-") as folder:
        here = task if task.metadata is None else _with_own_store(task, Path(folder))
        ledger = SentLedger(here.ledger, here.store, task.rows, keeps=task.metadata is None)
        try:
            yield here, ledger
        finally:
            report.traffic = ledger.traffic + taken_traffic()


def read_metadata(store: Path) -> tuple[tuple[str, bytes], ...]:
    """Return what describes a store and its arrays, by path in it."""
    files = sorted((store / ZARR_METADATA, *store.glob(f"*/{ZARR_METADATA}")))
    return tuple((file.relative_to(store).as_posix(), file.read_bytes()) for file in files)


def write_metadata(store: Path, metadata: Iterable[tuple[str, bytes]]) -> None:
    """Write what describes a store and its arrays, by path in it, and no shard."""
    for name, content in metadata:
        make_folder((store / name).parent)
        (store / name).write_bytes(content)


def _with_own_store(task: RegionTask, folder: Path) -> RegionTask:
    """Return the task with a store in a folder: its metadata, and no shard."""
    store = folder / task.store.name
    write_metadata(store, task.metadata or ())
    return replace(task, store=store, ledger=folder / task.ledger.name)
