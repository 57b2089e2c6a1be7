"""What every line of a log says beside its text: the job and the scene that are in work.

A process has several scenes of a batch in work at once, each in a thread of its own. So the names belong to the
context of a call, and threads that a run starts take that context with them: see `ContextPool`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_named: ContextVar[Mapping[str, str]] = ContextVar("named in logs", default={})  # noqa: B039 - never changed


@contextmanager
def logged_as(**names: str) -> Iterator[None]:
    """Let the lines that are logged inside carry these names, such as ``job="a"``."""
    token = _named.set({**_named.get(), **names})
    try:
        yield
    finally:
        _named.reset(token)


def log_context() -> Mapping[str, str]:
    """Return the names of what is in work."""
    return _named.get()


def names_of(record: logging.LogRecord) -> Mapping[str, str]:
    """Return the names that belong to a record: those that it brings from a worker, or those of this thread."""
    names: Mapping[str, str] = getattr(record, "names", None) or log_context()
    return names


def keep_names_in_records() -> None:
    """Let every record of this process keep its names, for it is shown by another; a second call changes nothing."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, _Named):
        logging.setLogRecordFactory(_Named(make))


class _Named:
    """Makes log records as another factory does, with names."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*arguments, **named)
        record.names = dict(log_context())
        return record
