"""One executor for all jobs of a batch that ask for the same workers: a cluster starts once, not per scene."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor, executor_for


class SharedExecutor:
    """Keeps the executor of the last job; used as a context, it closes it at the end.

    Parameters
    ----------
    tell
        Shows the user what happens to the cluster.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._open = ExitStack()
        self._resources: tuple[Any, ...] | None = None
        self._executor: Executor | None = None

    def of(self, config: RunConfig) -> Executor:
        """Return the executor of a job: that of the job before if both name the same workers.

        Raises
        ------
        UsageError
            If the options contradict each other, or the cluster file cannot be accepted.
        """
        resources = (config.workers, config.scheduler, config.cluster, config.memory, config.device)
        if self._executor is None or resources != self._resources:
            self.close()
            self._executor, self._resources = (
                self._open.enter_context(executor_for(config, self._tell)),
                resources,
            )
        return self._executor

    def close(self) -> None:
        """Give back what was started; the next job starts anew."""
        self._executor = None
        self._open.close()

    def __enter__(self) -> SharedExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # with the error, so that an interrupt does not wait for work in flight
        self._open.__exit__(kind, error, trace)
