"""What every line of a log says beside its text: the job and the scene that are in work.

It belongs to the process, not to a thread: rows are read and written in threads that a run starts, and a process has
one run in work at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_named: dict[str, str] = {}


@contextmanager
def logged_as(**names: str) -> Iterator[None]:
    """Let the lines that are logged inside carry these names, such as ``job="a"``."""
    before = dict(_named)
    _named.update(names)
    try:
        yield
    finally:
        _named.clear()
        _named.update(before)


def log_context() -> Mapping[str, str]:
    """Return the names of what is in work."""
    return dict(_named)
