"""Dask clusters that are running already, or that a file describes."""

from __future__ import annotations

import logging
from inspect import signature
from typing import Any, Protocol

from distributed import Client

from segment_tiles.pipeline.errors import RunFailedError, UsageError, one_line
from segment_tiles.workflows.executors.dask_cluster.cluster_file import ClusterFile, cluster_class
from segment_tiles.workflows.executors.dask_cluster.dask_settings import dask_settings
from segment_tiles.workflows.executors.protocol import Tell

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer before it counts as unreachable."""
WAIT_FOR_RUNNING_WORKERS = 60.0
"""Seconds that a running scheduler without workers is given to get one."""


class Cluster(Protocol):
    """Where a client connects, and what is started and stopped for it."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables that every worker gets."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether workers are processes of this terminal, which Ctrl-C reaches."""
        ...

    @property
    def has_dashboard(self) -> bool:
        """Whether the scheduler shows one."""
        ...

    @property
    def workers(self) -> int | None:
        """How many were asked for; None if only the cluster knows."""
        ...

    @property
    def is_adaptive(self) -> bool:
        """Whether it starts workers only when more Regions wait than it has workers."""
        ...

    @property
    def wait(self) -> float:
        """Seconds until the first worker must be there, or another when all are lost."""
        ...

    @property
    def memory(self) -> int | None:
        """Bytes that each worker may take; None if only the workers know."""
        ...

    def open(self) -> Client:
        """Start what is not running, and connect."""
        ...

    def close(self, *, at_once: bool) -> None:
        """Stop what was started."""
        ...


def stop(cluster: Cluster, tell: Tell, *, at_once: bool) -> None:
    """Stop what was started for a client; if that does not answer, say so: its jobs may go on, and cost money."""
    try:
        cluster.close(at_once=at_once)
    except OSError as error:  # told, not raised: the run is done, or has an error of its own
        tell(f"the cluster did not stop ({one_line(error)}): see whether its jobs still run")


class RunningScheduler:
    """A scheduler that somebody else started.

    Parameters
    ----------
    address
        Such as ``tcp://10.0.0.5:8786`` or ``tls://...``; certificates come from Dask's own configuration.
    """

    is_local = False
    has_dashboard = True
    is_adaptive = False
    workers = None
    wait = WAIT_FOR_RUNNING_WORKERS
    memory = None

    def __init__(self, address: str) -> None:
        self._address = address
        self.environment: dict[str, str] = {}

    def open(self) -> Client:
        """Connect.

        Raises
        ------
        UsageError
            If nobody answers within seconds.
        """
        try:
            return Client(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            msg = (
                f"--scheduler {self._address}: no Dask scheduler answers there within {CONNECT_SECONDS} s "
                f"({one_line(error)}); give the address that `dask scheduler` prints, such as tcp://host:8786"
            )
            raise UsageError(msg) from error

    def close(self, *, at_once: bool) -> None:
        """It is not ours to stop."""


class DescribedCluster:
    """A cluster of any Dask cluster class, started for a run and stopped after it."""

    is_local = False
    has_dashboard = True
    memory = None

    def __init__(self, description: ClusterFile) -> None:
        self._description = description
        self._class = cluster_class(description)
        self._cluster: Any = None
        self.environment = description.environment_values()
        self.workers = description.most_workers
        self.is_adaptive = description.adapt is not None
        self.wait = description.wait_seconds

    def open(self) -> Client:
        """Start the cluster, ask it for workers, and connect.

        Raises
        ------
        UsageError
            If the class does not accept its arguments.
        RunFailedError
            If it cannot be started.
        """
        name = self._description.cluster
        # processes of a cluster on this machine have the terminal of this one
        silent = {"silence_logs": logging.CRITICAL} if _takes_silence_logs(self._class) else {}
        try:
            with dask_settings():
                self._cluster = self._class(**{**silent, **self._description.arguments})
        except (TypeError, ValueError) as error:
            msg = f"{self._description.path}: {name} does not accept its arguments: {one_line(error)}"
            raise UsageError(msg) from error
        except (OSError, RuntimeError) as error:
            msg = f"{self._description.path}: {name} cannot be started: {one_line(error)}"
            raise RunFailedError(msg) from error
        adapt = self._description.adapt
        if adapt is None:
            self._cluster.scale(self.workers)
        else:
            self._cluster.adapt(minimum=adapt.minimum, maximum=adapt.maximum)
        return Client(self._cluster, set_as_default=False)

    def close(self, *, at_once: bool) -> None:
        """Stop it; its jobs or pods end.

        Raises
        ------
        OSError
            If it does not answer: they may go on.
        """
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close(timeout=CONNECT_SECONDS if at_once else None)


def _takes_silence_logs(cluster: Any) -> bool:
    return "silence_logs" in signature(cluster).parameters
