"""Threads that read and write beside the network, and give way to it."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

NICENESS: Final = 19
"""Of a thread that takes a core only where the network leaves one, or waits for it."""


def background_thread(name: str) -> ThreadPoolExecutor:
    """Return a pool of one thread that gives way to the threads of the network.

    The network computes in as many threads as there are cores, and each layer waits for its slowest. A thread
    that decodes or compresses for three milliseconds on one of these cores holds up the others for as long. One
    that gives way works while blending leaves a core idle; where that is not enough the network waits for it,
    and then it has all cores. Only Linux has priorities of threads.
    """
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_give_way)


def _give_way() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
