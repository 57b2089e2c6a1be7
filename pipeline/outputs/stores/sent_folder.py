"""Files of a run as objects of a place: how workers that see no common disk read what the client has made or has.

::

    PREFIX/index.json       size and checksum of every file; written last, so it is there only if all of them are
    PREFIX/files/c/0/1 ...  the files

A worker brings a file to a disk of its own when it is first read, checks it, and keeps it for the Regions to come.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4
from weakref import finalize

from zarr.storage import LocalStore, WrapperStore

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import PlaceError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.outputs.stores.seals import Seal, as_plain, from_plain, seal_of
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.protocol import OBJECTS_AT_ONCE, RESULT_SECONDS, Place, Traffic

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

log = logging.getLogger(__name__)

INDEX: Final = "index.json"
FILES: Final = "files"
_TRIES: Final = 2
"""How often an object is read that is not what was sent."""
_FOLDERS_KEPT: Final = 8
"""Folders that a process keeps on its disk."""


@dataclass(frozen=True, slots=True)
class SentFolder:
    """Files of a run in a place, as plain values that travel to any worker."""

    address: str
    """Of the result."""
    prefix: str
    """Key of the folder of the files."""
    checksum: str
    """sha256 of the index, hexadecimal."""

    def zarr_store(self) -> BroughtStore:
        """Return it as a Zarr store, whose files are brought when they are read; reading raises `PlaceError`."""
        return BroughtStore(_brought(self))

    def whole(self) -> Path:
        """Bring all of it, and return the folder on this disk.

        Raises
        ------
        PlaceError
            If the place does not answer, or does not hold what was sent.
        """
        brought = _brought(self)
        with ContextPool(OBJECTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            list(pool.map(brought.bring, brought.seals))
        return brought.folder


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that a user named, with those that belong to it, in a place."""

    folder: SentFolder
    name: str
    """In the folder; for a layer of a file, with the layer."""

    def path(self) -> Path:
        """Bring it, and return where it lies; raises as `SentFolder.whole`."""
        return self.folder.whole() / self.name


class Send(Protocol):
    """Sends files, once, and says where workers find them."""

    def __call__(self, name: str, folder: Path, files: Callable[[], Mapping[str, Path]]) -> SentFolder:
        """Send files under a name.

        Parameters
        ----------
        name
            Of the folder in the place.
        folder
            What they are of on this disk: it says of which run.
        files
            Gives them by their path in the folder in the place; asked once.
        """
        ...


def files_of(folder: Path, is_wanted: Callable[[str], bool] = lambda _name: True) -> dict[str, Path]:
    """Return the files below a folder by their path in it, those that are wanted."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: names[name] for name in sorted(names) if is_wanted(name)}


def send_files(place: Place, prefix: str, files: Mapping[str, Path], before_put: Callable[[], None]) -> str:
    """Write files that are not there yet into a place, then what says that they are; return its checksum.

    Parameters
    ----------
    place, prefix
        Where they go.
    files
        By their path in the folder in the place.
    before_put
        Called before each object is written: raises if this process may not.

    Raises
    ------
    PlaceError
        If the place does not answer.
    """
    with ContextPool(OBJECTS_AT_ONCE, thread_name_prefix="send") as pool:
        seals = dict(zip(files, pool.map(seal_of, files.values()), strict=True))
        index, key, there = json_text(as_plain(seals)).encode(), f"{prefix}/{INDEX}", place.sizes(prefix)
        before = place.read(key) if key in there else None
        is_other = before is not None and before.data != index
        due = [
            name for name, seal in seals.items()
            if is_other or there.get(f"{prefix}/{FILES}/{name}") != seal.size
        ]  # fmt: skip

        def put(name: str) -> None:
            before_put()
            place.put_file(f"{prefix}/{FILES}/{name}", files[name])

        list(pool.map(put, due))
    if due or before is None or is_other:
        before_put()
        place.put(key, index)
    return sha256(index).hexdigest()


class _Brought:
    """The files of a `SentFolder` that are on this disk, until nothing reads them or the process ends."""

    def __init__(self, sent: SentFolder) -> None:
        self.place, self._prefix = place_at(sent.address, RESULT_SECONDS), sent.prefix
        found = self.place.read(f"{sent.prefix}/{INDEX}")
        if found is None or sha256(found.data).hexdigest() != sent.checksum:
            what = "is gone" if found is None else "is not what was sent"
            msg = f"{sent.address}/{sent.prefix}/{INDEX}: {what}; start the same command again, which sends it again"
            raise PlaceError(msg)
        self.seals: dict[str, Seal] = from_plain(json.loads(found.data))
        self.folder = Path(tempfile.mkdtemp(prefix="segment-tiles-brought-"))
        finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def bring(self, name: str) -> None:
        """Bring a file, if there is one of this name and it is not here.

        Raises
        ------
        PlaceError
            If the place does not answer, or does not hold what was sent: then it is removed, to be sent again.
        """
        seal, target = self.seals.get(name), self.folder / name
        if seal is None or target.is_file():
            return
        key = f"{self._prefix}/{FILES}/{name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}-{uuid4().hex}")
        for _ in range(_TRIES):
            self.place.read_file(key, partial)
            if seal.is_kept(partial):
                partial.replace(target)
                return
            log.warning("%s/%s is not what was sent", self.place.name, key)
        self.place.delete(key)
        msg = f"{self.place.name}/{key}: is damaged; start the same command again, which sends it again"
        raise PlaceError(msg)


@lru_cache(maxsize=_FOLDERS_KEPT)
def _brought(sent: SentFolder) -> _Brought:
    brought = _Brought(sent)
    _counters.append(_Counter(brought.place))
    return brought


@dataclass(slots=True)
class _Counter:
    """Tells what was asked of a place since it was asked."""

    place: Place
    told: Traffic = field(default_factory=Traffic)

    def take(self) -> Traffic:
        before, self.told = self.told, self.place.traffic
        return Traffic(*(getattr(self.told, one.name) - getattr(before, one.name) for one in fields(Traffic)))


_counters: list[_Counter] = []
"""Of all folders that this process has opened."""


class BroughtStore(WrapperStore[LocalStore]):
    """A Zarr store on this disk whose files are brought before they are read; it cannot be written.

    Parameters
    ----------
    brought
        Its files.
    """

    def __init__(self, brought: _Brought) -> None:
        super().__init__(LocalStore(brought.folder, read_only=True))
        self._files = brought

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file, or a part of it; None if there is none."""
        await asyncio.to_thread(self._files.bring, key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is such a file."""
        return key in self._files.seals

    def _with_store(self, store: LocalStore) -> BroughtStore:
        return BroughtStore(self._files)


def taken_traffic() -> Traffic:
    """Return what this process has asked for since the last call."""
    return sum((counter.take() for counter in _counters), start=Traffic())


def forget_brought() -> None:
    """Remove what was brought from this disk: the run is at its end."""
    _brought.cache_clear()
