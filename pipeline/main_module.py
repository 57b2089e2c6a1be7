"""Processes that do not import the script that started them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

_NAMES: Final = ("__file__", "__spec__")
"""By which ``multiprocessing`` tells a new process what to import."""
_lock = Lock()
_kept: dict[str, Any] = {}
_users: list[None] = []


@contextmanager
def main_not_imported() -> Iterator[None]:
    """Let processes of ``multiprocessing`` that start meanwhile not import the script that this one runs.

    They would import it to find functions of it, and ours need none. A script that calls this library without
    ``if __name__ == "__main__":`` would do all of it again in each of them.
    """
    main = vars(sys.modules["__main__"])
    with _lock:
        if not _users:
            _kept.update({name: main[name] for name in _NAMES if name in main})
            main.update(dict.fromkeys(_kept))
        _users.append(None)
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                main.update(_kept)
                _kept.clear()
