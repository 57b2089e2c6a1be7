"""Processes that end with the one that started them, however it ends, and do not import its script."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import Any, Final

import psutil

LOOK_SECONDS: Final = 1.0
"""How often a process that is no parent is looked after."""
_UNDER_A_PIPE: Final = (
    "import runpy, sys; from segment_tiles.pipeline.parent_process import end_with_input; end_with_input(); "
    "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
_NAMES: Final = ("__file__", "__spec__")
"""By which ``multiprocessing`` tells a new process what to import."""
_starting = threading.Lock()
_kept: dict[str, Any] = {}
_users: list[None] = []


def end_with_parent() -> None:
    """End this worker process as soon as the process that asked for it is gone, by SIGKILL too.

    For children of ``multiprocessing``, by any start method. They hold the reading end of a pipe, on Windows a handle,
    that the operating system closes with the parent. A worker of a pool would otherwise wait for tasks for ever: the
    writing end of the tasks' queue is open in its siblings too. Nothing is put away: what is unfinished is
    done again by the next start.
    """
    parent = parent_process()
    if parent is None:
        return

    _end_after(parent.join)


def _end_after(wait: Callable[[], object]) -> None:
    def end() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end, name="end-with-parent", daemon=True).start()


def start_module(arguments: Sequence[str], *, keeps_errors: bool = False) -> subprocess.Popen[bytes]:
    """Start ``python -m ARGUMENTS`` as a process that ends with this one, however this one ends.

    Its standard input is a pipe whose other end this process holds and never writes to. Its standard output goes
    nowhere; what it says on standard error goes where that of this process goes, or is kept for the caller to read.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _UNDER_A_PIPE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if keeps_errors else None,
    )


def end_with_input() -> None:
    """End this process as soon as its standard input is closed."""
    # the bare descriptor: what holds the lock of sys.stdin would keep Python from ending by itself
    _end_after(lambda: os.read(0, 1))


def end_with_process(pid: int) -> None:
    """End this process within seconds after another, which need not be its parent."""
    try:
        other = psutil.Process(pid)
    except psutil.NoSuchProcess:  # it has ended before this one looked
        os._exit(1)

    def wait() -> None:
        try:
            while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
                time.sleep(LOOK_SECONDS)
        except psutil.NoSuchProcess:
            pass  # it has ended, and so does this one

    _end_after(wait)


@contextmanager
def main_not_imported() -> Iterator[None]:
    """Let processes of ``multiprocessing`` that start meanwhile not import the script that this one runs.

    They would import it to find functions of it, and ours need none. A script that calls this library without
    ``if __name__ == "__main__":`` would do all of it again in each of them. Nor do processes import it that another
    thread of the script starts meanwhile.
    """
    main = vars(sys.modules["__main__"])
    with _starting:
        if not _users:
            _kept.update({name: main[name] for name in _NAMES if name in main})
            main.update(dict.fromkeys(_kept))
        _users.append(None)
    try:
        yield
    finally:
        with _starting:
            _users.pop()
            if not _users:
                main.update(_kept)
                _kept.clear()
