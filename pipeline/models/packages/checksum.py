"""SHA-256 of files, as the STAC file extension writes it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

MULTIHASH_SHA256 = "1220"
"""Multihash prefix: function 0x12 (sha2-256), length 0x20 (32 bytes)."""


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksum_of_weights(path: Path) -> str:
    """Return the SHA-256 of a file that several steps of a run verify: it is read once, until it changes.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    status = path.stat()
    # the time of the last change of the status cannot be set: whoever writes to the file moves it
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _checksum_of_state(path.absolute(), state)


@lru_cache(maxsize=32)
def _checksum_of_state(path: Path, _state: tuple[int, ...]) -> str:
    return sha256_of_file(path)
