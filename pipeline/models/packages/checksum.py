"""SHA-256 of files, as the STAC file extension writes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

MULTIHASH_SHA256 = "1220"
"""Multihash prefix: function 0x12 (sha2-256), length 0x20 (32 bytes)."""


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
