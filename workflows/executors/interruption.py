"""Ctrl-C during the computation: once finishes what is in flight, twice stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FINISHING = "interrupted: the rows in work are being finished; Ctrl-C again stops at once"


class Interruption:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self._requested = False

    def request(self) -> None:
        """Ask to stop when what is in flight is finished."""
        self._requested = True

    def is_requested(self) -> bool:
        """Return whether to stop."""
        return self._requested


@contextmanager
def interruption(tell: Callable[[str], None]) -> Iterator[Interruption]:
    """Turn the first Ctrl-C inside into a request; raise ``KeyboardInterrupt`` at the second, or at the end.

    If this is not the main thread, or the program around it handles Ctrl-C itself, that stays as it is.

    Parameters
    ----------
    tell
        Told once that what is in flight is being finished.
    """
    asked = Interruption()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield asked
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_requested():
            raise KeyboardInterrupt
        asked.request()
        # not here: the signal may have come in the middle of a print, which cannot be entered twice
        threading.Thread(target=tell, args=(FINISHING,), name="interrupted").start()

    signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_requested():
        raise KeyboardInterrupt
