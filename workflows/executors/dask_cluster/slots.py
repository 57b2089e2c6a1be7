"""How many Regions and scenes workers have at once: one each, of however many runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

Wake = Callable[[], None]


class Slots:
    """Counts what is given to workers.

    One thing per worker is in work, and none waits on a worker: Dask blames the death of a worker on every task that
    it was given, also on those that it had not begun.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._lock = threading.Lock()
        self._wakes: list[Wake] = []

    def take(self, limit: int) -> bool:
        """Take a slot if fewer than `limit` are taken; return whether it did."""
        with self._lock:
            if self._taken >= limit:
                return False
            self._taken += 1
            return True

    def give_back(self, count: int = 1) -> None:
        """Give slots back, and wake those that may wait for one."""
        with self._lock:
            self._taken -= count
            wakes = [*self._wakes]
        for wake in wakes:
            wake()

    def tell(self, wake: Wake) -> None:
        """Call this whenever a slot is given back, from whatever thread."""
        with self._lock:
            self._wakes.append(wake)

    def forget(self, wake: Wake) -> None:
        """Call it no more."""
        with self._lock:
            self._wakes.remove(wake)
