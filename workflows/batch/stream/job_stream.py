"""Jobs of a batch in flight: while one computes, others are opened, planned and finished beside it.

Every job is a run of its own, with the same bytes as alone: only the processor, memory and the loaded model are shared.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextvars import copy_context
from functools import partial
from itertools import groupby
from typing import Final

from segment_tiles.workflows.batch.jobs import Job
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.batch.stream.job_listener import JobListener
from segment_tiles.workflows.batch.stream.shared_executor import workers_of
from segment_tiles.workflows.executors import Capacity
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.process_memory import DEFAULT_MEMORY_SHARE, available_bytes
from segment_tiles.workflows.run.in_flight import InFlight
from segment_tiles.workflows.run.listener import Listener

IN_FLIGHT: Final = 3
"""Jobs of a process: two small ones compute, or a large one, the rest is opened or finished. More gain nothing."""
ENDING_SECONDS: Final = 5.0
"""What runs are given to end when the user has asked twice."""
LOOK_SECONDS: Final = 0.2
"""How often the main thread wakes, which alone is told of Ctrl-C."""

RunJob = Callable[[Job, Listener, InFlight, str | None], JobOutcome]
"""Runs one job; whatever is wrong with it is in the outcome.

The last is the device on which a worker may do it as a whole, or None."""
Ends = Callable[[int, JobOutcome], None]
"""Told of the position of a job that has ended."""


class JobStream:
    """Runs jobs, some at once.

    Parameters
    ----------
    run_job
        Runs one.
    listener
        Told of all.
    starts
        Told of a job that begins; by one thread at a time, like `ends`.
    ends
        Told of a job that has ended.
    asked
        Whether the user wants to stop: jobs in flight end with whole rows, and no further one begins.
    capacity
        Returns what the executor offers, once a job computes.
    """

    def __init__(
        self,
        run_job: RunJob,
        listener: Listener,
        starts: Callable[[Job], None],
        ends: Ends,
        asked: Interruption,
        capacity: Callable[[], Capacity],
    ) -> None:
        self._run_job, self._listener, self._starts, self._ends = run_job, listener, starts, ends
        self._asked, self._capacity_now = asked, capacity
        self._turn = threading.Lock()
        self._is_aborted = False
        self._error: BaseException | None = None
        self._waiting: deque[tuple[int, Job]] = deque()
        self._capacity = Capacity()
        self._device_names: dict[Hashable, str] = {}
        self._has_begun = threading.Event()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs, those together that ask for the same workers.

        Raises
        ------
        KeyboardInterrupt
            When the user has asked twice.
        """
        for _, group in groupby(enumerate(jobs), key=lambda pair: workers_of(pair[1].config)):
            self._run_group(list(group))

    def _run_group(self, group: Sequence[tuple[int, Job]]) -> None:
        self._waiting, self._capacity = deque(group), Capacity()
        self._has_begun.clear()
        config = group[0][1].config
        in_flight = InFlight(config.memory or int(available_bytes() * DEFAULT_MEMORY_SHARE), self._asked)
        threads = [self._start(in_flight)]
        try:
            # the first job alone until it computes: it chooses how all compute, and loads the model
            while not self._has_begun.wait(LOOK_SECONDS):
                pass
            self._capacity = self._capacity_now()
            at_once = IN_FLIGHT + (self._capacity.workers if self._capacity.is_elsewhere else 0)
            threads += [self._start(in_flight) for _ in range(min(at_once, len(group)) - 1)]
            for thread in threads:
                while thread.is_alive():
                    thread.join(LOOK_SECONDS)
        except KeyboardInterrupt:
            self._abort(threads)
            raise
        if self._error is not None:
            raise self._error

    def _start(self, in_flight: InFlight) -> threading.Thread:
        target = partial(copy_context().run, self._work, in_flight)
        # it does not keep the process alive: what it leaves is continued later, as after any crash
        thread = threading.Thread(target=target, name="job", daemon=True)
        thread.start()
        return thread

    def _work(self, in_flight: InFlight) -> None:
        """Run jobs until none waits."""
        try:
            while (found := self._next()) is not None:
                index, job, device = found
                outcome = self._run_job(job, self._listener_of(job), in_flight, device)
                with self._turn:
                    self._ends(index, outcome)
        except KeyboardInterrupt:
            pass  # the job waits for the next start of the batch
        except BaseException as error:  # noqa: BLE001 - raised by the main thread: a listener that cannot be told
            self._error = error
        finally:
            self._has_begun.set()

    def _next(self) -> tuple[int, Job, str | None] | None:
        """Return the position of a job, the job, and the device on which a worker may do it as a whole."""
        with self._turn:
            if not self._waiting or self._asked.is_requested() or self._error is not None:
                return None
            index, job = self._waiting.popleft()
            self._starts(job)
            # the last ones are shared by all workers, which would wait for each other otherwise
            are_many = self._capacity.is_elsewhere and len(self._waiting) >= self._capacity.workers
            return index, job, self._device_names.get(_way_of(job)) if are_many else None

    def _listener_of(self, job: Job) -> JobListener:
        def begins(plan: Plan) -> None:
            self._device_names[_way_of(job)] = plan.probe.device_name
            self._has_begun.set()

        return JobListener(self._listener, job.name, self._turn, lambda: self._is_aborted, begins)

    def _abort(self, threads: Sequence[threading.Thread]) -> None:
        """Let all runs end as soon as they tell anything, and wait a moment for it."""
        self._is_aborted = True
        self._asked.request()
        for thread in threads:
            thread.join(ENDING_SECONDS / len(threads))


def _way_of(job: Job) -> Hashable:
    """Return what decides how a job computes: a Choice of one such job is that of all."""
    config = job.config
    return (
        config.model, config.companions, config.device, config.precision, config.backend, config.batch,
        config.augmentation, config.trust, config.tile,
    )  # fmt: skip
