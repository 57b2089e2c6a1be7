"""Errors that GDAL signals and then passes over: a read that met one has failed, though GDAL calls it good.

GDAL takes a tile whose position in a TIFF it could not fetch for a hole, and a scene of a mosaic that it could not
open for no scene: the read succeeds, and its pixels are zeros or nodata. All that tells of it is an error that
rasterio hands to Python's logging, below the level that anybody looks at.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.damage import said
from segment_tiles.pipeline.sources.rasters.member_pool import forget_failed_members
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote

LOGGERS: Final = ("rasterio._env", "rasterio._err")
"""Those to which rasterio hands what GDAL says: outside its calls, and inside them."""
SIGNALLED: Final = "GDAL signalled an error"
"""How rasterio's line of an error begins; warnings begin otherwise."""
_BUCKET_URL: Final = re.compile(r"(?P<scheme>s3|gs|az)://(?P<key>.+)", re.DOTALL)
"""Rasterio takes what follows a ``#`` off, though keys may have it; GDAL's own names are passed on as they are."""


class SignalledError(OSError):
    """GDAL signalled an error in a call that it ended as if all were well."""


class _Heard(threading.local):
    """What this thread waits for; GDAL calls its handler of errors in the thread that reads."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.is_listening = False


_heard = _Heard()


class _Ear(logging.Filter):
    """Keeps the first error for the thread that listens, and lets through what would be seen without it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _heard.is_listening and _heard.first is None and str(record.msg).startswith(SIGNALLED):
            # err_no and msg as they are, or the line whole
            said = (
                record.args[1]
                if isinstance(record.args, tuple) and len(record.args) > 1
                else record.getMessage()
            )
            _heard.first = one_line(Exception(str(said)))
        shown_from = max(logging.getLogger(self.name).getEffectiveLevel(), logging.root.manager.disable + 1)
        return record.levelno >= shown_from


_ears: Final = {name: _Ear(name) for name in LOGGERS}


def _listen() -> None:
    """Make both loggers pass errors on to us, whatever a configuration of logging did to them meanwhile."""
    for name, ear in _ears.items():
        logger = logging.getLogger(name)
        if ear not in logger.filters:
            logger.filters.insert(0, ear)  # another one may reject it
            # neither a level nor logging.disable() may make us deaf
            logger.isEnabledFor = lambda level: level >= logging.INFO  # type: ignore[method-assign]
        logger.disabled = False


@contextmanager
def signalled_errors_raised() -> Iterator[None]:
    """Inside, an error that GDAL signals in this thread makes the whole fail, if nothing else does.

    After a failure GDAL forgets what it could not open, or the next read would fail without an error.

    Raises
    ------
    SignalledError
        At the end, with the first of them.
    """
    _listen()
    was = _heard.is_listening, _heard.first
    _heard.is_listening, _heard.first = True, None
    try:
        yield
        raise_signalled()
    except Exception:
        forget_failed_members()
        raise
    finally:
        _heard.is_listening, _heard.first = was


def raise_signalled() -> None:
    """Raise at once what `signalled_errors_raised` would raise at its end: for loops of many calls."""
    if _heard.first is not None:
        raise SignalledError(_heard.first)


def open_error(uri: str, level: int, error: Exception) -> SourceError:
    """Return what is said of a raster that GDAL cannot open at a Level."""
    if not is_url(uri):
        path = Path(uri)
        if not path.exists():
            return SourceError(f"{uri}: no such file; give the path or URL of a raster")
        if path.is_dir():
            return SourceError(f"{uri}: is a folder without a raster that can be read; give a file")
    if level > 0:
        return SourceError(f"{uri}: has no level {level} ({said(error)}); see `segment-tiles info {uri}`")
    # GDAL says of a server that does not give a file that its format is not known
    remedy = "; check the address, and that the server answers" if is_remote(uri) else ""
    if (found := _BUCKET_URL.match(uri)) and "#" in found["key"]:
        remedy = f"; a URL ends at its '#': give /vsi{found['scheme']}/{found['key']}"
    return SourceError(f"{uri}: is not a raster that GDAL can read ({said(error)}){remedy}")
