"""Regions on the workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import Client, KilledWorker
from distributed.comm import CommClosedError

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import RunFailedError, UsageError, one_line
from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.places.protocol import Traffic
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.executors.dask_cluster.clusters import Cluster, stop
from segment_tiles.workflows.executors.dask_cluster.dask_settings import TRIES
from segment_tiles.workflows.executors.dask_cluster.sliding_window import SlidingWindow
from segment_tiles.workflows.executors.dask_cluster.slots import Slots
from segment_tiles.workflows.executors.dask_cluster.unopened import submit
from segment_tiles.workflows.executors.dask_cluster.versions import require_versions
from segment_tiles.workflows.executors.dask_cluster.whole_run import slot, whole_run
from segment_tiles.workflows.executors.dask_cluster.worker import RegionWorker, WorkOrder, stop_run, unseen
from segment_tiles.workflows.executors.dask_cluster.worker_log import bring_records, leave_records
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.executors.protocol import (
    Capacity,
    Request,
    Result,
    RunPaths,
    Tell,
    WholeWork,
)
from segment_tiles.workflows.logs.context import log_context
from segment_tiles.workflows.process_memory import DEFAULT_MEMORY_SHARE, available_bytes
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.regions.strips import Strip, trace_strip

log = logging.getLogger(__name__)

ASKED_AGAIN = 2
"""How often all workers are asked once more."""
SECONDS_TO_SETTLE = 2.0
"""Until the scheduler knows that a worker has left."""


class DaskExecutor:
    """Starts or joins a cluster when it is first needed, and gives it Regions.

    Parameters
    ----------
    cluster
        What is started, or joined.
    tell
        Shows the user the dashboard's address and what happens to workers.
    """

    def __init__(self, cluster: Cluster, tell: Tell) -> None:
        self._cluster, self._tell = cluster, tell
        self.choices: dict[tuple[str, ...], Any] = {}
        self._name = f"segment-tiles-{uuid4().hex[:12]}"
        self._client: Client | None = None
        self._capacity = Capacity(is_elsewhere=True)
        self._runs: list[str] = []
        self._opening, self._naming, self._slots = threading.Lock(), threading.Lock(), Slots()
        self._has_prepared_workers = self._brings_records = self._is_ready = False

    def start(self) -> Capacity:
        """Connect, wait for the first worker, and check who is there.

        Raises
        ------
        UsageError
            If no scheduler answers, no worker comes, or one has another version of this program.
        """
        with self._opening:
            if not self._is_ready:  # what was refused once is refused again
                self._open()
                self._is_ready = True
            return self._capacity

    def _open(self) -> None:
        client = self._client = self._client or self._cluster.open()
        with self._scheduler_is_there():
            if self._cluster.has_dashboard and "dashboard" in client.scheduler_info()["services"]:
                self._tell(f"dashboard: {client.dashboard_link}")
            self._await_first_worker(client)
            require_versions(client)
            plugin = RegionWorker(self._cluster.environment, ignores_interrupts=self._cluster.is_local)
            self._asked(lambda: client.register_plugin(plugin, name=self._name))
            self._has_prepared_workers = True
            self._brings_records = bring_records(client, self._name)
            self._capacity = self._measured_capacity(client)
        log.info("%s of %s", counted(self._capacity.workers or 1, "worker"), client.scheduler.address)

    def check(self, paths: RunPaths) -> RunPaths:
        """Ask every worker whether it sees source, model and output directory; return what they are told.

        Raises
        ------
        UsageError
            Naming the first that does not, and what.
        """
        marker = f"seen-by-workers-{uuid4().hex}"
        seen = [paths.own_folder / marker] if isinstance(paths.own_folder, Path) else []
        for path in seen:
            path.touch()
        try:
            with self._scheduler_is_there():
                answers = self._asked(lambda: self._connected().run(unseen, paths, marker))
        finally:
            for path in seen:
                path.unlink()
        problems = {worker: text for worker, text in answers.items() if text is not None}
        for worker, text in problems.items():
            msg = (
                f"worker {worker}: {text}; {len(problems)} of {counted(len(answers), 'worker')} cannot do this run: "
                "every worker needs source, model and output directory under the same names"
            )
            raise UsageError(msg)
        return paths

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function returns on a worker.

        Raises
        ------
        RunFailedError
            If the workers die of it.
        """
        with self._scheduler_is_there():
            future = submit(self._connected(), function, *arguments)
            try:
                result: Result = future.result()
            except KilledWorker as error:
                msg = (
                    f"{TRIES} workers ended while the model was measured; they may lack memory: see --memory"
                )
                raise RunFailedError(msg) from error
        return result

    def do_whole(
        self, work: WholeWork[Request, Result], request: Request, interruption: Interruption
    ) -> Result:
        """Return what the work returns on a worker that does nothing else meanwhile.

        Raises
        ------
        RunFailedError
            If the scheduler is lost, or three workers ended while they did it.
        """
        client, order = self._connected(), self._order()
        with self._scheduler_is_there(), slot(self._slots, client, self._at_least, interruption):
            result: Result = whole_run(client, order, work, request, interruption)
        return result

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do the tasks, as many at once as there are workers.

        Raises
        ------
        RunFailedError
            If the scheduler or all workers are lost.
        WriteFailedError
            If a Region could not be written, tried three times.
        """
        order = self._order()
        with self._scheduler_is_there():
            window = SlidingWindow(
                self._connected(),
                order,
                tasks,
                progress,
                interruption,
                self._tell,
                patience=self._cluster.wait,
                at_least=self._at_least,
                slots=self._slots,
            )
            return window.run()

    def trace(self, strips: Sequence[Strip], interruption: Interruption) -> list[Traffic]:
        """Trace strips, as many at once as there are workers.

        Raises
        ------
        RunFailedError
            If the scheduler is lost, or three workers ended while they traced one.
        """
        with ContextPool(max(1, min(self._capacity.workers, len(strips))), "strips") as pool:
            return list(pool.map(lambda strip: self.do_whole(trace_strip, strip, interruption), strips))

    @property
    def _at_least(self) -> int:
        """What is given to the cluster however few workers there are: an adaptive one starts them when tasks wait."""
        return self._capacity.workers if self._cluster.is_adaptive else 0

    def _order(self) -> WorkOrder:
        with self._naming:
            order = WorkOrder(
                f"{self._name}-{len(self._runs)}", installed_version("segment-tiles"), log_context()
            )
            self._runs.append(order.run)
        return order

    def close(self, *, at_once: bool = False) -> None:
        """Stop what was started, and leave a cluster that was there as it was found."""
        client, self._client = self._client, None
        if client is not None:
            if self._has_prepared_workers and client.status == "running" and not self._cluster.is_local:
                with suppress(
                    OSError, CancelledError
                ):  # the scheduler has gone, and with it what there is to clean up
                    self._leave(client, at_once=at_once)
            if at_once:
                stop(self._cluster, self._tell, at_once=True)
            client.close()
        stop(self._cluster, self._tell, at_once=at_once)

    def _leave(self, client: Client, *, at_once: bool) -> None:
        for run in self._runs if at_once else ():
            client.run(stop_run, run, at_once=True, on_error="ignore")
        client.run(forget_segmenters, on_error="ignore")
        client.unregister_worker_plugin(self._name)
        if self._brings_records:
            leave_records(client, self._name)

    def _asked(self, ask: Callable[[], Result]) -> Result:
        """Ask all workers; again if one of them left while it was asked, and took the answer with it."""
        for _ in range(ASKED_AGAIN):
            try:
                return ask()
            except CommClosedError as error:
                if self._connected().status != "running":
                    raise
                log.warning("a worker left while it was asked, all are asked again: %s", one_line(error))
                time.sleep(SECONDS_TO_SETTLE)
        return ask()

    def _connected(self) -> Client:
        assert self._client is not None, "start() comes first"
        return self._client

    @contextmanager
    def _scheduler_is_there(self) -> Iterator[None]:
        """Turn the ways in which Dask says that the scheduler is gone into one line."""
        try:
            yield
        except (CommClosedError, CancelledError, TimeoutError) as error:
            msg = (
                f"the Dask scheduler is gone ({one_line(error)}); finished rows are kept: start the same command "
                "again when there is one"
            )
            raise RunFailedError(msg) from error

    def _await_first_worker(self, client: Client) -> None:
        if client.nthreads():
            return
        self._tell(f"waiting for the first worker, at most {self._cluster.wait:.0f} s")
        # a task, and not only a wait: an adaptive cluster starts workers when something is to do
        first = submit(client, os.getpid)
        try:
            first.result(timeout=self._cluster.wait)
        except TimeoutError as error:
            msg = (
                f"no worker came to the scheduler {client.scheduler.address} within {self._cluster.wait:.0f} s; "
                "start some, with `dask worker ADDRESS --nthreads 1`"
            )
            raise UsageError(msg) from error

    def _measured_capacity(self, client: Client) -> Capacity:
        workers = client.scheduler_info()["workers"]
        count = self._cluster.workers or len(workers)
        if self._cluster.memory is not None:
            return Capacity(count, self._cluster.memory, is_elsewhere=True)
        free = self._asked(lambda: client.run(available_bytes))
        hosts = [entry["host"] for entry in workers.values()]
        limits = [
            entry["memory_limit"] or free[address] // hosts.count(entry["host"])
            for address, entry in workers.items()
            if address in free
        ]
        return Capacity(count, int(min(limits) * DEFAULT_MEMORY_SHARE), is_elsewhere=True)
