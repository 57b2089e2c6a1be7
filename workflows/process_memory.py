"""Memory of this process as the operating system counts it."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from segment_tiles.workflows.container_memory import container_bytes

DEFAULT_MEMORY_SHARE = 0.8
"""Share of the free memory that a run may take unless told."""

STATUS = Path("/proc/self/status")
"""Where Linux says what this process takes."""


def resident_bytes() -> int:
    """Return the resident set size of this process now."""
    return int(psutil.Process().memory_info().rss)


_before_reset = 0
"""Highest resident set size of this process before ``reset_peak`` was last called."""


def peak_resident_bytes() -> int:
    """Return the highest resident set size of this process."""
    return max(_before_reset, peak_since_reset())


def peak_since_reset() -> int:
    """Return the highest resident set size since ``reset_peak``, or of all time if it does nothing."""
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ModuleNotFoundError:
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> bool:
    """Start counting the peak anew; False if the system has no such switch (it is Linux's)."""
    global _before_reset  # noqa: PLW0603 - the system has one such counter for the process, too
    _before_reset = peak_resident_bytes()
    switch = Path("/proc/self/clear_refs")
    try:
        switch.write_text("5")
    except OSError:
        return False
    return True


RELEASED_FROM: Final = 32
"""Tiles of a run from which memory is given back to the system: after fewer that takes longer than the computation."""


def release_after(report: Mapping[str, Any]) -> None:
    """Give freed memory back to the system if the computation of which this is the report was not a small one."""
    if report["tiles"]["planned"] >= RELEASED_FROM:
        release_freed_memory()


def release_freed_memory() -> bool:
    """Give memory that was freed back to the system; False if the C library has no such call (glibc has).

    glibc keeps freed buffers in the arenas of the threads that made them; between the stages of a run
    that would add up to more than any stage needs.
    """
    gc.collect()
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:  # it has a pool of its own; where it was never imported, it holds nothing
        arrow.default_memory_pool().release_unused()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library without a name
        return False
    trim(0)
    return True


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Numbers of settings in glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Let this process use again what a batch has freed; False if the C library has no such call (glibc has).

    What a batch frees, the next one needs. glibc would return it to the system and have it cleared and mapped anew,
    tile after tile: blocks beyond a threshold at once, the end of the heap when it is large, and the heaps of
    threads, 64 MiB each, when they are empty. 32 MiB is the highest threshold that every glibc accepts. What
    it saves is measured by ``benchmarks/speed/floors.py``.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mallopt(M_MMAP_THRESHOLD, 2**25)
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_TOP_PAD, 2**26)
    return True


M_ARENA_MAX = -8


def share_arenas() -> bool:
    """Let all threads share two arenas; False if the C library has no such call (glibc has).

    glibc gives nearly every thread an arena of its own, which keeps what the thread has freed: the threads of finishing
    would hold a third more than they need. Arenas that are there stay.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mallopt(M_ARENA_MAX, 2)
    return True


def total_bytes() -> int:
    """Return the memory of this machine, whoever has it now."""
    return int(psutil.virtual_memory().total)


def available_bytes() -> int:
    """Return the memory that this machine, or this container, can still give."""
    available = int(psutil.virtual_memory().available)
    in_container = container_bytes()
    return available if in_container is None else min(available, in_container)
