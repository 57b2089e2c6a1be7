"""GDAL's cache of decoded blocks, which is one for the whole process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

import rasterio.env

DEFAULT_MIB: Final = 64
"""What a read or a copy may keep unless told; GDAL's own 5 % of the machine would not stand in any Plan."""
_OPTION: Final = "GDAL_CACHEMAX"

_lock = threading.Lock()
_wanted: list[int] = []
"""Bytes that each of those inside wants, in no order."""
_outside = 0
"""Bytes that were allowed before the first of them came in."""


@contextlib.contextmanager
def block_cache_of_mib(mebibytes: int) -> Iterator[None]:
    """Inside, GDAL keeps at most this much of what it decodes; for several threads, what the largest asks for.

    ``rasterio.Env(GDAL_CACHEMAX=64)`` would mean 64 bytes, for rasterio takes bytes and GDAL's own option
    mebibytes. It would also be undone by whichever thread leaves its ``Env`` first, while others still read.

    Parameters
    ----------
    mebibytes
        Units of 2**20 bytes.
    """
    size = mebibytes * 2**20
    with _lock:
        _enter(size)
    try:
        yield
    finally:
        with _lock:
            _leave(size)


def block_cache_limit_bytes() -> int:
    """Return how many bytes GDAL may keep now, by its own account."""
    return int(rasterio.env.get_gdal_config(_OPTION))


def _enter(size: int) -> None:
    global _outside  # noqa: PLW0603 - GDAL has one such limit for the process, too
    if not _wanted:
        _outside = block_cache_limit_bytes()
    _wanted.append(size)
    _set_limit(max(_wanted))


def _leave(size: int) -> None:
    _wanted.remove(size)
    _set_limit(max(_wanted, default=_outside))


def _set_limit(size: int) -> None:
    rasterio.env.set_gdal_config(_OPTION, size)
