"""Seals: size and checksum of files, so that damage is noticed before anything is made of them.

The checksum is the CRC-32 of zlib and not CRC-32C: chunks end in their own CRC-32C, and the CRC of data with its
own CRC behind it is the same for all data of one length. So a CRC-32C of a whole shard would say nothing new.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.json_text import json_text

CHECKSUM: Final = "checksum"
"""Key of the checksum of everything else in a sealed JSON file."""
ZARR_METADATA: Final = "zarr.json"
"""File that describes a group or an array."""
_PART: Final = 2**22
_FEW: Final = 4
"""Files up to which threads are not worth their start."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What a file must be."""

    size: int
    """Bytes."""
    checksum: int
    """CRC-32 of all bytes."""

    def has_size(self, path: Path) -> bool:
        """Return whether a file is there and has the size: quick, and tells what was emptied or cut."""
        try:
            return path.is_file() and path.stat().st_size == self.size
        except OSError:
            return False

    def is_kept(self, path: Path) -> bool:
        """Return whether a file is what it was, byte for byte; one that cannot be read is not."""
        if not self.has_size(path):
            return False
        try:
            return seal_of(path) == self
        except OSError:
            return False


def seal_of(path: Path) -> Seal:
    """Return the seal of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    size = checksum = 0
    with path.open("rb") as file:
        while part := file.read(_PART):
            checksum = zlib.crc32(part, checksum)
            size += len(part)
    return Seal(size, checksum)


def seals_of_tree(folder: Path, known: Mapping[str, Seal | None] | None = None) -> dict[str, Seal]:
    """Return the seals of all files below a folder, by their path in it with ``/``; known ones are not read."""
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return {name: (known or {}).get(name) or seal_of(folder / name) for name in names}


def is_tree_kept(folder: Path, seals: Mapping[str, Seal], *, sizes_only: bool = False) -> bool:
    """Return whether a folder has these files, each as it was; further files do not matter.

    Sizes are compared first, then checksums in several threads. With sizes only, checksums are compared of the
    metadata of Zarr alone: chunks have one of their own that every reader checks, metadata have none.
    """
    if not all(seal.has_size(folder / name) for name, seal in seals.items()):
        return False
    pairs = [(seal, folder / name) for name, seal in seals.items()]
    if sizes_only:
        pairs = [(seal, path) for seal, path in pairs if path.name == ZARR_METADATA]
    return all(kept(pairs)) if len(pairs) > _FEW else all(seal.is_kept(path) for seal, path in pairs)


def kept(pairs: Iterable[tuple[Seal, Path]]) -> list[bool]:
    """Return of each file whether it is what it was; reading and summing go on in several threads."""
    with ContextPool(min(8, os.cpu_count() or 1), thread_name_prefix="check") as pool:
        return list(pool.map(lambda pair: pair[0].is_kept(pair[1]), pairs))


def as_plain(seals: Mapping[str, Seal]) -> dict[str, list[int]]:
    """Return seals as plain JSON values."""
    return {name: [seal.size, seal.checksum] for name, seal in seals.items()}


def from_plain(values: Mapping[str, Any]) -> dict[str, Seal]:
    """Return seals from plain JSON values.

    Raises
    ------
    ValueError, TypeError, AttributeError
        If these are not seals.
    """
    return {name: Seal(int(size), int(checksum)) for name, (size, checksum) in values.items()}


def write_sealed(path: Path, fields: Mapping[str, Any], *, waits: bool = True) -> None:
    """Write plain values as JSON with a checksum of their own: whole, and on the disk if it waits for that.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    text = json_text(dict(fields), indent=None)
    checksum = f'"{CHECKSUM}": {_checksum(json.loads(text))}}}'  # of the fields as they will be read
    write_whole(path, text[:-1] + (", " if fields else "") + checksum, waits=waits)


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote, or None if the file is not there or not what was written."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop(CHECKSUM) != _checksum(fields):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(fields)


def _checksum(fields: Mapping[str, Any]) -> int:
    return zlib.crc32(json_text(fields, sort_keys=True, indent=None).encode())
