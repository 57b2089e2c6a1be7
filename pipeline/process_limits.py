"""Limits that the system sets to this process, and below which nothing that it says of an error can be relied on."""

from __future__ import annotations

import sys
from typing import Final

from segment_tiles.pipeline.errors import UsageError

DESCRIPTORS_NEEDED: Final = 128
"""Open files of a run in one process: libraries, source, store, pipes; half of what the strictest systems give."""
ADDRESSES_NEEDED: Final = 10**9
"""Bytes of address space that a command needs at least, beyond what the process has when it begins."""


def require_limits() -> None:
    """Refuse to begin with too few descriptors or too little address space.

    Libraries that get no descriptor say anything but that: a table cannot be made, a driver is unknown. And Python
    waits for ever for a thread that got a stack and then no memory for its first call.

    Raises
    ------
    UsageError
        A limit is too low, and only whoever set it can raise it.
    """
    if sys.platform != "win32":  # has no such limits on what is used here
        _require_descriptors()
        _require_addresses()


def _require_descriptors() -> None:
    """Raise the limit as far as this process may."""
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS_NEEDED:
        return
    if hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS_NEEDED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_NEEDED, hard))
        return
    msg = (
        f"this process may open {hard} files at a time; {DESCRIPTORS_NEEDED} are needed: raise the limit with "
        "`ulimit -n 1024` and start again"
    )
    raise UsageError(msg)


def _require_addresses() -> None:
    import resource  # noqa: PLC0415

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    import psutil  # noqa: PLC0415 - seldom needed

    free = limit - psutil.Process().memory_info().vms
    if free < ADDRESSES_NEEDED:
        msg = (
            f"this process may have {limit / 1e9:.1f} GB of memory addresses, of which {max(0, free) / 1e9:.1f} GB are "
            f"free; {ADDRESSES_NEEDED / 1e9:.1f} GB or more are needed: raise the limit with `ulimit -v unlimited` and "
            "start again"
        )
        raise UsageError(msg)
