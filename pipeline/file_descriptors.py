"""How many files this process may have open at a time."""

from __future__ import annotations

import sys
from typing import Final

from segment_tiles.pipeline.errors import UsageError

NEEDED: Final = 128
"""Open files of a run in one process: libraries, source, store, pipes; half of what the strictest systems give."""


def require_descriptors() -> None:
    """Raise the limit of this process as far as it may; refuse to begin with too few.

    Libraries that get no descriptor say anything but that: a table cannot be made, a driver is unknown.

    Raises
    ------
    UsageError
        The limit is too low, and only whoever set it can raise it.
    """
    if sys.platform == "win32":  # has no such limit on what is used here
        return
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= NEEDED:
        return
    if hard == resource.RLIM_INFINITY or hard >= NEEDED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED, hard))
        return
    msg = (
        f"this process may open {hard} files at a time; {NEEDED} are needed: raise the limit with `ulimit -n 1024` "
        "and start again"
    )
    raise UsageError(msg)
