"""Imports of a command, which take most of the time of a small one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Inside, modules are imported, and Python does not look for garbage among what they make.

    Modules stay. Looking through hundreds of thousands of their objects again and again, while more of them come and
    whenever memory is given back later, takes a sixth of the time of a command that segments one small picture.
    """
    gc.disable()
    try:
        yield
    finally:
        if _is_own_process:
            gc.freeze()
        gc.enable()


def own_process() -> None:
    """Say that this process does one command and ends: what is made by then is never looked through again.

    In a process that goes on, garbage that happens to be there would stay for ever.
    """
    global _is_own_process  # noqa: PLW0603 - there is one process
    _is_own_process = True


_is_own_process = False
