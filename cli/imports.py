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
        gc.freeze()
        gc.enable()
