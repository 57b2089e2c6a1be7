"""What a Dask worker does for a run: one Region at a time, with progress, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from distributed import Worker, WorkerPlugin, get_worker

from segment_tiles.pipeline.errors import OutputError, SegmentTilesError, UsageError, one_line
from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.library_messages import clean_log_records, silence_libraries
from segment_tiles.pipeline.models.devices import device_label, resolve_device
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.executors.protocol import RunPaths, WholeWork
from segment_tiles.workflows.logs.context import keep_names_in_records, logged_as
from segment_tiles.workflows.logs.formats import PACKAGE
from segment_tiles.workflows.output_folder.directory import OWN_FOLDER
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask
from segment_tiles.workflows.regions.region_work import do_region

log = logging.getLogger(__name__)

SECONDS_BETWEEN_EVENTS = 0.5
"""Progress of a worker reaches the scheduler at most this often."""

_one_region_at_a_time = threading.Lock()
"""The memory of a Plan is that of one Region, also if a worker has several threads."""
_stopped: set[str] = set()
"""Runs that end with the row of shards in work."""
_aborted: set[str] = set()
"""Runs that end with the batch in work."""


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """The run that a Region belongs to."""

    run: str
    """Name of this start of the run, and topic of its progress."""
    version: str
    """Of the program that asks: a worker of another version may give other bytes."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Of job and scene, which lines of the log carry."""


class _AbortedError(Exception):
    """The run was stopped at once; nobody waits for the Region."""


class ProgressEvents:
    """Sends progress to the client, a few times a second at most."""

    def __init__(self, run: str) -> None:
        self._run, self._worker = run, get_worker()
        self._computed = self._skipped = 0
        self._sent = monotonic()

    def __call__(self, computed: int, skipped: int) -> None:
        """Count tiles, and tell the client now and then."""
        if self._run in _aborted:
            raise _AbortedError
        self._computed += computed
        self._skipped += skipped
        if monotonic() - self._sent > SECONDS_BETWEEN_EVENTS:
            self.send()

    def send(self) -> None:
        """Tell what was not told yet."""
        if self._computed or self._skipped:
            self._worker.log_event(self._run, (self._computed, self._skipped))
            self._computed = self._skipped = 0
        self._sent = monotonic()


def do_region_on_worker(task: RegionTask, order: WorkOrder) -> RegionReport:
    """Do a Region in this worker.

    Raises
    ------
    UsageError
        If this worker has another version of the program, or another kind of device.
    """
    _require_version(order.version)
    with _one_region_at_a_time, logged_as(**order.names):
        _require_device(task)
        progress = ProgressEvents(order.run)
        try:
            return do_region(task, progress, lambda: order.run in _stopped)
        except SegmentTilesError as error:
            log.warning(
                "the Region of rows %d to %d failed on this worker, which may try it again: %s",
                task.region.row, task.region.row_stop, one_line(error), extra={"reason": one_line(error)},
            )  # fmt: skip
            raise
        finally:
            progress.send()


def do_whole_on_worker(work: WholeWork[Any, Any], request: Any, order: WorkOrder) -> Any:
    """Do all of a small run in this worker.

    Raises
    ------
    UsageError
        If this worker has another version of the program.
    """
    _require_version(order.version)
    with _one_region_at_a_time, logged_as(**order.names):
        return work(request, lambda: order.run in _stopped, lambda: order.run in _aborted)


def stop_run(run: str, *, at_once: bool = False) -> None:
    """Let the Regions of a run end: with the rows in work, or with the batch in work."""
    _stopped.add(run)
    if at_once:
        _aborted.add(run)


def unseen(paths: RunPaths, marker: str) -> str | None:
    """Return in one line what this worker cannot see of a run, or None if it sees everything.

    Parameters
    ----------
    paths
        Of the run.
    marker
        Name of a file that the client has put into the folder of the run.
    """
    try:
        if isinstance(paths.own_folder, Path):
            _look_into(paths.own_folder, marker)
        if paths.place is not None:
            _write_to(paths.place, marker)
        if paths.opener is not None:
            paths.opener.look()
        found = load_manifest(find_model(paths.model)).of_checksum(paths.checksum)
    except SegmentTilesError as error:
        return one_line(error)
    if found is None:
        return f"model {paths.model} has other weights or another model.json there"
    return None


def _look_into(own_folder: Path, marker: str) -> None:
    """Refuse a folder that is not the one of the client, or that cannot be written.

    Raises
    ------
    OutputError
        Naming it.
    """
    if not (own_folder / marker).is_file():
        msg = f"the output directory {own_folder.parent} is not the same folder there"
        raise OutputError(msg)
    try:
        probe = own_folder / f"{marker}-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        msg = f"the output directory {own_folder.parent} cannot be written there ({one_line(error)})"
        raise OutputError(msg) from error


def _write_to(address: str, marker: str) -> None:
    """Write an object and remove it: only so is known whether this worker may.

    Raises
    ------
    PlaceError
        If it may not, or the place does not answer.
    """
    place, key = place_at(address), f"{OWN_FOLDER}/{marker}-{os.getpid()}"
    place.put(key, b"")
    place.delete(key)


class RegionWorker(WorkerPlugin):  # type: ignore[misc]
    """Prepares a worker for Regions, also one that joins or is replaced later.

    Parameters
    ----------
    environment
        Variables that are set; credentials for sources, for example.
    ignores_interrupts
        Ctrl-C in the terminal of the client reaches its worker processes too, and is the client's business.
    """

    def __init__(self, environment: dict[str, str], *, ignores_interrupts: bool) -> None:
        self._environment, self._ignores_interrupts = environment, ignores_interrupts
        self._log_level = logging.getLogger(PACKAGE).getEffectiveLevel()

    def setup(self, worker: Worker) -> None:
        """Set environment, signals and threads of torch."""
        os.environ.update(self._environment)
        clean_log_records()
        keep_names_in_records()
        silence_libraries()
        logging.getLogger(PACKAGE).setLevel(self._log_level)  # as where the run was started
        if self._ignores_interrupts and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Dask starts worker processes with OMP_NUM_THREADS=1, whatever their number of threads
        torch.set_num_threads(max(torch.get_num_threads(), worker.state.nthreads))


def _require_version(expected: str) -> None:
    here = installed_version("segment-tiles")
    if here != expected:
        msg = f"worker {get_worker().address} has segment-tiles {here}, the run needs {expected}"
        raise UsageError(msg)


def _require_device(task: RegionTask) -> None:
    name = device_label(resolve_device(task.model.device))
    if name != task.device_name:
        msg = f"worker {get_worker().address} has {name}, the run was probed on {task.device_name}"
        raise UsageError(msg)
