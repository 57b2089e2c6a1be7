"""The first inference of a process goes alone, where a library's bindings are filled in it.

Bindings fill tables of theirs when they first convert an array. Two threads that do so can wait for each other for
ever: one holds the interpreter and waits for a table, the other fills it and waits for the interpreter.
Seen with OpenVINO; whether ONNX Runtime's do it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock


class FirstInference:
    """Of one library in this process."""

    def __init__(self) -> None:
        self._alone, self._is_done = Lock(), Event()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else infer until the first is done; all after it go at once."""
        if self._is_done.is_set():
            yield
            return
        with self._alone:
            yield
            self._is_done.set()
