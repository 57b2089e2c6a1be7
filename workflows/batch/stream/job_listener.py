"""What the runs of several jobs tell, one at a time, and with the name of the job."""

from __future__ import annotations

import threading
from collections.abc import Callable

from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run.listener import Listener


class Aborted(KeyboardInterrupt):
    """The user has asked twice: what is in work ends as soon as it tells anything."""


class JobListener:
    """Listens to the run of one job among several.

    Parameters
    ----------
    listener
        Told by all jobs, one at a time.
    name
        Of the job, before every warning.
    turn
        Held while the listener is told.
    is_aborted
        Whether the run is to end at once.
    begins
        Called when the run begins to compute.
    """

    def __init__(
        self,
        listener: Listener,
        name: str,
        turn: threading.Lock,
        is_aborted: Callable[[], bool],
        begins: Callable[[Plan], None],
    ) -> None:
        self._listener, self._name, self._turn = listener, name, turn
        self._is_aborted, self._begins = is_aborted, begins

    def warn(self, text: str) -> None:
        """Pass on a warning, with the name of the job."""
        with self._turn:
            self._listener.warn(f"{self._name}: {text}")

    def stage(self, name: str) -> None:
        """Pass on the stage that begins."""
        self._go_on()
        with self._turn:
            self._listener.stage(name)

    def planned(self, plan: Plan) -> None:
        """Pass on the Plan."""
        self._go_on()
        self._begins(plan)
        with self._turn:
            self._listener.planned(plan)

    def tiles(self, computed: int, skipped: int) -> None:
        """Pass on progress."""
        self._go_on()
        with self._turn:
            self._listener.tiles(computed, skipped)

    def _go_on(self) -> None:
        if self._is_aborted():
            raise Aborted
