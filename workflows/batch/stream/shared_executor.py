"""One executor for all jobs of a batch that ask for the same workers: a cluster starts once, not per scene."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from segment_tiles.pipeline.errors import RunFailedError
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, Executor, executor_for


def workers_of(config: RunConfig) -> tuple[Any, ...]:
    """Return what decides whether two jobs can have one executor."""
    return (config.workers, config.scheduler, config.cluster, config.memory, config.device)


class SharedExecutor:
    """Keeps the executor of the last job; used as a context, it closes it at the end.

    Parameters
    ----------
    tell
        Shows the user what happens to the cluster.
    in_flight
        Whether jobs come from several threads; those that are in flight together ask for the same workers.
    """

    def __init__(self, tell: Callable[[str], None], *, in_flight: bool = False) -> None:
        self._tell, self._in_flight = tell, in_flight
        self._lock = threading.Lock()
        self._used: _Used | None = None

    @contextmanager
    def of(self, config: RunConfig) -> Iterator[Executor]:
        """Give the executor of a job: that of the job before if both name the same workers.

        After a run that failed for all its workers were lost, the next job gets new ones.

        Raises
        ------
        UsageError
            If the options contradict each other, or the cluster file cannot be accepted.
        """
        used = self._begin(config)
        try:
            yield used.executor
        except RunFailedError:
            self._retire(used)
            raise
        finally:
            self._end(used)

    def capacity(self) -> Capacity:
        """Return what the executor of the last job offers; nothing elsewhere if there is none."""
        with self._lock:
            return Capacity() if self._used is None else self._used.executor.start()

    def _begin(self, config: RunConfig) -> _Used:
        with self._lock:
            used = self._used
            if used is None or used.workers != workers_of(config):
                if used is not None:
                    used.retire()
                used = self._used = _Used(config, self._tell, in_flight=self._in_flight)
            used.jobs += 1
            return used

    def _retire(self, used: _Used) -> None:
        with self._lock:
            used.retire()
            if self._used is used:
                self._used = None

    def _end(self, used: _Used) -> None:
        with self._lock:
            used.jobs -= 1
            used.close_if_done()

    def __enter__(self) -> SharedExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        used, self._used = self._used, None
        if used is not None:
            # with the error, so that an interrupt does not wait for work in flight
            used.open.__exit__(kind, error, trace)


class _Used:
    """An executor, and how many jobs use it now."""

    def __init__(self, config: RunConfig, tell: Callable[[str], None], *, in_flight: bool) -> None:
        self.open = ExitStack()
        self.executor = self.open.enter_context(executor_for(config, tell, in_flight=in_flight))
        self.workers = workers_of(config)
        self.jobs = 0
        self._is_retired = False

    def retire(self) -> None:
        """Give it to no further job, and close it when the last one has ended."""
        self._is_retired = True
        self.close_if_done()

    def close_if_done(self) -> None:
        """Close it if it is retired and no job uses it."""
        if self._is_retired and not self.jobs:
            self.open.close()
