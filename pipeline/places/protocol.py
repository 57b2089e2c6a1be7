"""What a place can do with whole objects, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from segment_tiles.pipeline.errors import PlaceError

_NO_PARTS: Final = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True)
class Found:
    """An object as it was read."""

    data: bytes
    version: str
    """Changes whenever the content does; `Place.replace` takes it."""


class Place(Protocol):
    """A folder or a bucket below a prefix. Keys are names by ``/``; an object is there whole or not at all.

    Every method raises `PlaceError`, in one line, if the place does not answer, is not there, or does not let us.
    """

    @property
    def name(self) -> str:
        """Address, as it may be shown."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in place of one that is there."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object if none has its key; return whether it was written. Of many at a time one gets True."""

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write an object if the one that is there has a version still; return whether it was written."""

    def read(self, key: str) -> Found | None:
        """Return an object, or None if none has the key."""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there and has them all."""

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below a folder of keys, sorted; of all without one."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def checked_key(key: str) -> str:
    """Return a key that means the same everywhere.

    Raises
    ------
    PlaceError
        If it has empty parts, ``.`` or ``..``, or a part that begins with a dot: those are a place's own.
    """
    if any(part in _NO_PARTS or part.startswith(".") for part in key.split("/")):
        msg = f"key {key!r}: names by '/' are needed, of which none is empty or begins with a dot"
        raise PlaceError(msg)
    return key
