"""What runs that are in flight at once share: the processor, memory, and the user's wish to stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from segment_tiles.workflows.executors.in_process import COMPUTING_AT_ONCE
from segment_tiles.workflows.executors.interruption import Interruption, interruption
from segment_tiles.workflows.executors.protocol import Capacity
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.regions.region_task import SMALL_TILES


class Alone:
    """A run that has its process to itself."""

    traces_ahead = True
    """Whether polygons of finished rows are traced while others are computed."""

    def measuring(self, way: Hashable) -> AbstractContextManager[None]:
        """Measure at once."""
        return nullcontext()

    def computing(self, plan: Plan, capacity: Capacity) -> AbstractContextManager[None]:
        """Compute at once."""
        return nullcontext()

    def finishing(self, amount: int) -> AbstractContextManager[None]:
        """Finish at once."""
        return nullcontext()

    def interruption(self, tell: Callable[[str], None]) -> AbstractContextManager[Interruption]:
        """Take Ctrl-C for a wish to stop."""
        return interruption(tell)


ALONE: Final = Alone()


class InFlight(Alone):
    """Several runs at once: some compute in this process, while others are opened, planned and finished beside them.

    On a processor two small ones compute, each in half of the cores; a large one, or one on a GPU, computes alone.

    Parameters
    ----------
    memory
        Bytes that the program, computing and finishing may take together.
    asked
        Whether the user wants all of them to stop.
    """

    traces_ahead = False  # what is idle computes or finishes another run

    def __init__(self, memory: int, asked: Interruption) -> None:
        self._asked = asked
        self._turns = Room(COMPUTING_AT_ONCE)
        self._choosing = threading.Lock()
        self._measured: set[Hashable] = set()
        self._memory = memory
        self._room = Room(memory)

    @contextmanager
    def measuring(self, way: Hashable) -> Iterator[None]:
        """Wait until nothing computes, if this way to compute was not measured yet: by the first run alone."""
        with self._choosing:
            if way not in self._measured:
                with self._turns.taken(COMPUTING_AT_ONCE):
                    yield
                self._measured.add(way)
                return
        yield

    @contextmanager
    def computing(self, plan: Plan, capacity: Capacity) -> Iterator[None]:
        """Wait for the turn, and until memory is free; what computes elsewhere needs neither."""
        if capacity.is_elsewhere:
            yield
            return
        is_shared = plan.probe.device == "cpu" and plan.tiles <= SMALL_TILES
        needed = 1 if is_shared else COMPUTING_AT_ONCE
        self._room.limit = self._memory - plan.memory.program
        with self._turns.taken(needed), self._room.taken(plan.memory.computing):
            yield

    def finishing(self, amount: int) -> AbstractContextManager[None]:
        """Wait until this many bytes are free."""
        return self._room.taken(amount)

    @contextmanager
    def interruption(self, tell: Callable[[str], None]) -> Iterator[Interruption]:
        """Give the wish of all runs; raise ``KeyboardInterrupt`` at the end, if it is there."""
        yield self._asked
        if self._asked.is_requested():
            raise KeyboardInterrupt


def memory_in_flight(plans: Sequence[Plan], at_once: int) -> int:
    """Return the bytes that runs take of which so many are in flight at once, in this process.

    Two small ones compute at once, or a large one alone, while the others are finished; all within the memory that one
    may take, unless one takes more by itself.
    """
    if not plans:
        return 0
    small = sorted(plan.memory.computing for plan in plans if plan.tiles <= SMALL_TILES)
    large = [plan.memory.computing for plan in plans if plan.tiles > SMALL_TILES]
    computing = max([sum(small[-COMPUTING_AT_ONCE:]), *large])
    finishing = sum(sorted(plan.memory.finishing for plan in plans)[-(at_once - 1) :]) if at_once > 1 else 0
    together = max(plan.memory.program for plan in plans) + computing + finishing
    alone = max(plan.memory.total for plan in plans)
    return max(alone, min(together, max(plan.memory_limit for plan in plans)))


class Room:
    """What stages of several runs take beside each other, such as bytes: who does not fit waits, and is not overtaken.

    A stage that needs more than there is goes when nothing else is in work: alone it takes what it takes in a run
    that has the process to itself.

    Parameters
    ----------
    limit
        How much there is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_work = self._taken = 0
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until it fits, and take it meanwhile."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._fits(amount))
            self._queue.popleft()
            self._in_work, self._taken = self._in_work + 1, self._taken + amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._in_work, self._taken = self._in_work - 1, self._taken - amount
                self._changed.notify_all()

    def _fits(self, amount: int) -> bool:
        return not self._in_work or self._taken + amount <= self.limit
