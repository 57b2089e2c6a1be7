"""Processes that others have started, any of which may end while one looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def started_by(parent: psutil.Process, text: str = "", recursive: bool = True) -> list[psutil.Process]:
    """Return the processes that a process has started and that run, those whose command line contains a text."""
    found = []
    for child in parent.children(recursive=recursive):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since they were listed
            if text in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each that still runs."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def listens(process: psutil.Process) -> bool:
    """Return whether a process has a TCP socket open."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.net_connections("tcp"))
    return False
