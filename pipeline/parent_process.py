"""Processes that end with the one that started them, however it ends."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process


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

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
