"""What a place can do with whole objects, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from segment_tiles.pipeline.durable import PARTIAL
from segment_tiles.pipeline.errors import PlaceError

RESULT_SECONDS: Final = 180.0
"""So long a store is waited for that results go into: nobody else has them."""
PART_BYTES: Final = 8 * 2**20
"""Larger files are sent in parts, without a condition."""
OBJECTS_AT_ONCE: Final = 8
"""So many are read or written at the same time: each waits for the network, not for the processor."""
_NO_PARTS: Final = frozenset({"", ".", ".."})
OWN_LOCK: Final = ".segment-tiles.lock"
"""File of a place on a disk that is no object."""


@dataclass(frozen=True, slots=True)
class Version:
    """Of an object: another one whenever its content is."""

    tag: str
    """By which S3, Azure and a disk compare."""
    generation: str | None = None
    """By which Google compares."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object as it was read."""

    data: bytes
    version: Version
    """`Place.replace` takes it."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked of a place, by this process.

    What obstore asks again by itself is not seen: that is parts of a large file whose sending failed.
    """

    requests: int = 0
    """All that were sent, also those sent again."""
    retries: int = 0
    """Of them, sent again."""
    sent: int = 0
    """Bytes."""
    received: int = 0
    """Bytes."""

    def __add__(self, other: Traffic) -> Traffic:
        """Return the sums."""
        return Traffic(
            self.requests + other.requests,
            self.retries + other.retries,
            self.sent + other.sent,
            self.received + other.received,
        )


class Place(Protocol):
    """A folder or a bucket below a prefix. Keys are names by ``/``; an object is there whole or not at all.

    Every method raises `PlaceError`, in one line, if the place does not answer, is not there, or does not let us.
    """

    @property
    def name(self) -> str:
        """Address, as it may be shown."""

    @property
    def traffic(self) -> Traffic:
        """What was asked of it."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key; return whether it was written. Of many at a time one gets True."""

    def replace(self, key: str, data: bytes, version: Version) -> bool:
        """Write an object if the one that is there has a version still; return whether it was written."""

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""

    def version(self, key: str) -> Version | None:
        """Return the version of an object, or None if none has the key."""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the keys as `list` does, with the bytes of each object."""

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a file of any size, in place of one that is there."""

    def read_file(self, key: str, path: Path) -> None:
        """Write an object that is there into a file, whose folder is there."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there."""


def checked_key(key: str) -> str:
    """Return a key that means the same everywhere.

    Raises
    ------
    PlaceError
        If it has empty parts, ``.`` or ``..``, or a part that looks like what a place on a disk keeps for itself.
    """
    if any(part in _NO_PARTS or is_own(part) for part in key.split("/")):
        msg = (
            f"key {key!r}: names by '/' are needed, of which none is empty, '.', '..', {OWN_LOCK!r}, "
            f"or begins with a dot and ends with {PARTIAL!r}"
        )
        raise PlaceError(msg)
    return key


def is_own(part: str) -> bool:
    """Return whether a name is one that a place on a disk keeps for itself: its lock, or what is not whole."""
    return part == OWN_LOCK or (part.startswith(".") and part.endswith(PARTIAL))
