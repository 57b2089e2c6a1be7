"""The executor that a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors.in_process import InProcess, OwnThreads
from segment_tiles.workflows.executors.protocol import Executor, Tell
from segment_tiles.workflows.sizes_check import check_executor_options


@contextmanager
def executor_for(config: RunConfig, tell: Tell, *, in_flight: bool = False) -> Iterator[Executor]:
    """Give the executor of ``--workers``, ``--scheduler`` or ``--cluster``, else this process; close it after.

    Parameters
    ----------
    config
        Of one run; an executor serves further runs as well.
    tell
        Shows the user what happens to the cluster.
    in_flight
        Whether several runs use it at once, from threads of their own.

    Raises
    ------
    UsageError
        If the options contradict each other, or the cluster file cannot be accepted.
    """
    check_executor_options(config)
    with ExitStack() as stack:
        executor = _executor(config, tell, stack, in_flight=in_flight)
        try:
            yield executor
        except BaseException:
            executor.close(at_once=True)
            raise
        executor.close()


def _executor(config: RunConfig, tell: Tell, stack: ExitStack, *, in_flight: bool) -> Executor:
    if config.workers is None and config.scheduler is None and config.cluster is None:
        return OwnThreads() if in_flight else InProcess()
    # Dask takes most of a second to import, which a run in this process does without
    from segment_tiles.workflows.executors.dask_cluster.cluster_file import read_cluster_file  # noqa: PLC0415
    from segment_tiles.workflows.executors.dask_cluster.clusters import (  # noqa: PLC0415
        Cluster,
        DescribedCluster,
        RunningScheduler,
    )
    from segment_tiles.workflows.executors.dask_cluster.dask_settings import silent_dask  # noqa: PLC0415
    from segment_tiles.workflows.executors.dask_cluster.local_workers import LocalWorkers  # noqa: PLC0415

    cluster: Cluster
    stack.enter_context(silent_dask())
    if config.workers is not None:
        cluster = LocalWorkers(config.workers, config.memory, config.device)
        cluster.begin()
    elif config.scheduler is not None:
        cluster = RunningScheduler(config.scheduler)
    else:
        assert config.cluster is not None
        cluster = DescribedCluster(read_cluster_file(config.cluster))
    # after the processes are on their way: it brings torch
    from segment_tiles.workflows.executors.dask_cluster.dask_executor import DaskExecutor  # noqa: PLC0415

    return DaskExecutor(cluster, tell)
