"""Folders of this machine in which results are made before they go into a bucket."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

_PREFIX: Final = "segment-tiles-result-"
_RESULT: Final = "result"
_LOCK: Final = "held"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a new folder on the disk of ``TMPDIR``, and remove it at the end, with what killed processes left there."""
    _sweep()
    top, lock = _held_folder()
    try:
        (top / _RESULT).mkdir()
        yield top / _RESULT
    finally:
        lock.release()
        shutil.rmtree(top, ignore_errors=True)


def _held_folder() -> tuple[Path, FileLock]:
    """Make a folder and hold it; another process may have swept it away before it was held."""
    while True:
        top = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = FileLock(top / _LOCK)
        try:
            lock.acquire()
        except FileNotFoundError:
            continue
        if (top / _LOCK).exists():
            return top, lock
        lock.release()


def _sweep() -> None:
    """Remove the folders whose process has ended."""
    for top in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not (top / _LOCK).exists():
            continue  # is being made
        lock = FileLock(top / _LOCK)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # in use, or another user's
            continue
        lock.release()
        log.info("%s: left by a process that has ended; removed", top)
        shutil.rmtree(top, ignore_errors=True)
